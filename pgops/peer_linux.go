package pgops

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"syscall"
)

// dialAs connects with another effective user. The kernel notes who connects at
// connect(2) (unix(7), SO_PEERCRED), and the system call changes nobody but the
// calling thread (setresuid(2), C library/kernel differences), which is a
// goroutine's of its own: a thread that could not be changed back ends with it.
func dialAs(ctx context.Context, uid int, dial dialFunc, network, address string) (net.Conn, error) {
	var conn net.Conn
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err = effective(uid); err != nil {
			return
		}
		conn, err = dial(ctx, network, address)
		if effective(0) == nil {
			runtime.UnlockOSThread()
		}
	}()
	<-done
	return conn, err
}

// effective sets the thread's effective user and leaves the real and the saved one.
func effective(uid int) error {
	const keep = ^uintptr(0)
	if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, keep, uintptr(uid), keep); e != 0 {
		return fmt.Errorf("become user %d to connect: %w", uid, e)
	}
	return nil
}
