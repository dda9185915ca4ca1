package daemon

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// Signals derives a context that the first SIGTERM or SIGINT cancels, with a
// cause that names the signal. A second one ends the process at once with 128 and
// the signal's number, 143 or 130, as a shell reports a death by it. stop frees the
// resources; it may be called more than once.
func Signals(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	quit := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() { watch(signals, quit, cancel) })
	return ctx, sync.OnceFunc(func() {
		signal.Stop(signals)
		close(quit)
		watcher.Wait()
		cancel(nil)
	})
}

func watch(signals <-chan os.Signal, quit <-chan struct{}, cancel context.CancelCauseFunc) {
	for first := true; ; first = false {
		select {
		case s := <-signals:
			if !first {
				exitBy(s)
			}
			cancel(fmt.Errorf("signal %s", s))
		case <-quit:
			return
		}
	}
}

// exitBy does not restore the default handling and let the signal kill: a process
// that a script started in the background ignores SIGINT by default, and process
// 1 of a container ignores both (signal(7), pid_namespaces(7)).
func exitBy(s os.Signal) {
	code := ExitFailure
	if n, ok := s.(syscall.Signal); ok {
		code = 128 + int(n)
	}
	os.Exit(code) //nolint:revive // a second signal means now; nothing may come between
}
