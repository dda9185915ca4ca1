package world

import (
	"errors"
	"os"
)

// writeFor writes a file that every user of the machine may read.
func writeFor(path, text string) error {
	return os.WriteFile(path, []byte(text), 0o644)
}

func openLog(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

func appendFile(path, text string) error {
	f, err := openLog(path)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
