package secondary

import (
	"context"
	"errors"

	"github.com/pgresync/pgresync/messages"
)

// incurableError marks a failure that trying again cannot cure (I-12): the
// machine stops in needs-operator with the remedy.
type incurableError struct{ advisedError }

func incurable(err error, remedy string) error { return &incurableError{advisedError{err, remedy}} }

// blockedError is an incurable one that the facts may end: it stands in the way of a
// resync for this reason until the verdict for it is another one.
type blockedError struct {
	error
	reason messages.Reason
}

func (e *blockedError) Unwrap() error { return e.error }

// promotedError: what was promoted is in nobody's gift but its operator's, or the
// policy's (I-1).
func promotedError(err error, remedy string) error {
	return &blockedError{incurable(err, remedy), messages.ReasonPromoted}
}

// blockedBy is the reason of a blockedError, "" for others.
func blockedBy(err error) messages.Reason {
	if e, ok := errors.AsType[*blockedError](err); ok {
		return e.reason
	}
	return ""
}

// advisedError is a failure that may pass, with what to do if it does not.
type advisedError struct {
	err    error
	remedy string
}

func (e *advisedError) Error() string { return e.err.Error() }
func (e *advisedError) Unwrap() error { return e.err }

// Remedy is for whoever asked over NATS.
func (e *advisedError) Remedy() string { return e.remedy }

func advised(err error, remedy string) error { return &advisedError{err, remedy} }

// remedyOf is the advice that comes with a failure, and whether there is no use in
// trying again.
func remedyOf(err error) (remedy string, hopeless bool) {
	if e, ok := errors.AsType[*incurableError](err); ok {
		return e.remedy, true
	}
	if e, ok := errors.AsType[*advisedError](err); ok {
		return e.remedy, false
	}
	return "", false
}

// passing reports whether a failure ends when somebody else is back.
func passing(err error) bool {
	return errors.Is(err, messages.ErrUnavailable) || errors.Is(err, messages.ErrQueued) || errors.Is(err, messages.ErrNotPrimary) || errors.Is(err, messages.ErrStreamCut) ||
		errors.Is(err, context.DeadlineExceeded)
}

// resumable reports whether a transfer that ended with err is worth going on with.
func resumable(err error) bool {
	return errors.Is(err, messages.ErrStreamCut) || errors.Is(err, messages.ErrUnavailable) || errors.Is(err, messages.ErrQueued)
}
