package secondary

import (
	"errors"

	"github.com/pgresync/pgresync/messages"
)

// incurableError marks a failure that trying again cannot cure (I-12): the
// machine stops in needs-operator with the remedy.
type incurableError struct {
	err    error
	remedy string
}

func (e *incurableError) Error() string { return e.err.Error() }
func (e *incurableError) Unwrap() error { return e.err }

func incurable(err error, remedy string) error { return &incurableError{err, remedy} }

// remedyOf is the advice of an incurable failure.
func remedyOf(err error) (string, bool) {
	if e, ok := errors.AsType[*incurableError](err); ok {
		return e.remedy, true
	}
	return "", false
}

// resumable reports whether a transfer that ended with err is worth going on with.
func resumable(err error) bool {
	return errors.Is(err, messages.ErrStreamCut) || errors.Is(err, messages.ErrUnavailable)
}
