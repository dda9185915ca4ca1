package command

import (
	"os"
	"syscall"
)

// growPipe asks for 1 MiB instead of 64 KiB: fewer switches between zfs and us.
// It is best effort: unprivileged users have a limit (pipe(7), pipe-max-size).
func growPipe(f *os.File) {
	const setPipeSize, size = 1031, 1 << 20 // F_SETPIPE_SZ, fcntl(2)
	c, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = c.Control(func(fd uintptr) {
		_, _, _ = syscall.Syscall(syscall.SYS_FCNTL, fd, setPipeSize, size)
	})
}
