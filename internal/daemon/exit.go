package daemon

import "errors"

// The exit codes of every command; docs/exit-codes.md tells an operator what to
// do about each. Codes are never given a new meaning.
const (
	ExitOK           = 0 // finished, or stopped by a first signal
	ExitFailure      = 1 // a failure at run time; starting again may help
	ExitUsage        = 2 // the command line or the configuration is wrong
	ExitPrerequisite = 3 // something this node must have is missing, or a check failed
	ExitConflict     = 4 // another process holds what this one needs
	ExitRefused      = 5 // a sidecar was asked and refused: paused, busy, a closed gate
	ExitUnavailable  = 6 // NATS or the sidecar that was asked does not answer
)

// WithExitCode attaches an exit code to err; nil stays nil.
func WithExitCode(err error, code int) error {
	if err == nil {
		return nil
	}
	return &codedError{error: err, code: code}
}

// codedError is looked for by its type and not by a method ExitCode, because
// os/exec.ExitError has one too, and a child's code is not ours.
type codedError struct {
	error
	code int
}

func (e *codedError) Unwrap() error { return e.error }

// Retryable is false for what only a human can change, so that Keep hands it on
// instead of repeating it.
func (e *codedError) Retryable() bool { return e.code != ExitUsage && e.code != ExitPrerequisite }

// ExitCode is the code that err asks for: ExitOK for nil, the outermost attached
// one, else ExitFailure.
func ExitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	if c, ok := errors.AsType[*codedError](err); ok {
		return c.code
	}
	return ExitFailure
}
