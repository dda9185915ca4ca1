package progtest_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/pgresync/pgresync/internal/progtest"
)

// Without the lock about one in a hundred of these fails with "text file busy".
func TestWhatIsWrittenCanBeRunAtOnce(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 40 {
				path := filepath.Join(dir, fmt.Sprintf("program-%d-%d", g, i))
				if err := progtest.Write(path, []byte("#!/bin/sh\nexit 0\n"), 0o700); err != nil {
					t.Error(err)
				}
				if err := exec.CommandContext(t.Context(), path).Run(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
