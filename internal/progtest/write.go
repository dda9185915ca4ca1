// Package progtest writes programs that tests run.
package progtest

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Write is os.WriteFile for a program that is to be run. A child that another
// goroutine starts in the meantime would inherit the open file, and as long as that
// child has it, to run the program fails with "text file busy" (golang/go#22315). It
// is safe for concurrent use.
func Write(path string, text []byte, mode fs.FileMode) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, text, mode); err != nil {
		return fmt.Errorf("write program: %w", err)
	}
	return nil
}
