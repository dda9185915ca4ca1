package daemon

import (
	"context"
	"os/signal"
	"syscall"
)

// Signals derives a context that the first SIGTERM or SIGINT cancels, with a
// cause that names the signal. A second one ends the process at once by that
// signal (a shell sees 143 or 130): from the first on, the default handling is
// back in force. stop frees the resources.
func Signals(parent context.Context) (ctx context.Context, stop context.CancelFunc) {
	ctx, stop = signal.NotifyContext(parent, syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
