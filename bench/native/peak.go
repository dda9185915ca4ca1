package main

import (
	"os"
	"syscall"
)

// peak is the greatest resident set of a process that ended, in MiB. The kernel
// counts that of the program before exec as well, which is ours and small.
func peak(s *os.ProcessState) float64 {
	u, ok := s.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return float64(u.Maxrss) / 1024
}
