//go:build !linux

package privileged

import (
	"context"
	"errors"
)

// Run is not to be had where a process cannot give up new privileges, nor learn of its
// parent's death.
func Run(context.Context, Options) (code int, err error) {
	return 0, errors.New("privileges are separated on Linux only: unset PGRESYNC_SEPARATE_PRIVILEGES")
}
