//go:build !linux

package command

import "os"

// growPipe does nothing: FreeBSD sizes its pipes by itself.
func growPipe(*os.File) {}
