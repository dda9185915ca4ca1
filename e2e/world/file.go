package world

import "os"

// writeFor writes a file that every user of the machine may read.
func writeFor(path, text string) error {
	return os.WriteFile(path, []byte(text), 0o644) //nolint:gosec // another user must read it
}
