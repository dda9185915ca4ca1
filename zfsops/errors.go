package zfsops

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/pgresync/pgresync/internal/command"
	"github.com/pgresync/pgresync/messages"
)

// Error is a zfs command that did not do what it was asked.
type Error struct {
	// Op is the act in words, Object the dataset, snapshot or pool.
	Op, Object string
	// Kind is one of the sentinels of package messages, nil when ZFS's words are not
	// known.
	Kind error
	// Hint says what an operator can do, "" when there is nothing to add.
	Hint string
	// Cause is usually *command.Error.
	Cause error
}

// Error names the act, its object, the kind, the cause and what can be done.
func (e *Error) Error() string {
	s := e.Op + " " + e.Object
	if e.Kind != nil {
		s += ": " + e.Kind.Error()
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Unwrap gives errors.Is the kind and the cause.
func (e *Error) Unwrap() []error {
	var all []error
	for _, err := range []error{e.Kind, e.Cause} {
		if err != nil {
			all = append(all, err)
		}
	}
	return all
}

// failed classifies the error of a zfs command.
func (a act) failed(err error) error {
	if err == nil {
		return nil
	}
	e := &Error{Op: a.op, Object: a.object, Cause: err}
	if cmd, ok := errors.AsType[*command.Error](err); ok {
		e.Hint, e.Kind = classify(cmd.Stderr)
	}
	return e
}

// is makes an error of a kind that we found ourselves.
func (a act) is(kind error, format string, args ...any) error {
	return &Error{Op: a.op, Object: a.object, Kind: kind, Cause: fmt.Errorf(format, args...)}
}

// wrap adds the act to an error of our own; nil stays nil.
func (a act) wrap(err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: a.op, Object: a.object, Cause: err}
}

// meaning is what a line of standard error means.
type meaning struct {
	line *regexp.Regexp
	kind error
	hint string
}

// says matches pattern at the end of a line, where ZFS puts its reasons: what
// comes before may be a name, and names may contain almost any words.
func says(pattern string) *regexp.Regexp { return regexp.MustCompile(`(?m)` + pattern + `\.?$`) }

const (
	hintMode    = "sudo, or the permissions of zfs-allow(8) and of /dev/zfs"
	hintPartial = "resume or abort the partial receive first"
	hintDiverge = "the newest snapshot here is not the stream's base: receive under a new name"
)

// meanings is ordered: the first match counts. The captured lines are in
// testdata/stderr, by version.
var meanings = []meaning{
	{says(`resume token is corrupt( \([^)]*\))?`), messages.ErrTokenInvalid, ""},
	{says(`is no longer the same snapshot used in the initial send`), messages.ErrTokenInvalid, ""},
	{says(`used in the initial send no longer exists`), messages.ErrTokenInvalid, ""},
	{says(`incremental source 0x[0-9a-f]+ no longer exists`), messages.ErrTokenInvalid, ""},
	{says(`provided resume token does not match dataset`), messages.ErrTokenInvalid, ""},

	{says(`out of space`), messages.ErrNoSpace, "free space in the pool, or raise the quota"},
	{says(`space quota exceeded`), messages.ErrNoSpace, "free space in the dataset, or raise its quota"},
	{says(`No space left on device`), messages.ErrNoSpace, "free space in the pool, or raise the quota"},
	{says(`size is greater than available space`), messages.ErrNoSpace, "lower the reservation, or free space in the pool"},

	{says(`partially-complete state from "zfs receive -s"`), messages.ErrBusy, hintPartial},
	{says(`must specify -F to overwrite it`), messages.ErrExists, hintDiverge},
	{says(`must destroy (it|them) to overwrite it`), messages.ErrExists, hintDiverge},
	{says(`^match incremental source`), messages.ErrExists, hintDiverge},
	{says(`^since most recent snapshot`), messages.ErrExists, "something wrote to the destination: it must not be mounted writable"},
	{says(`destination already exists`), messages.ErrExists, ""},

	{says(`incomplete stream`), messages.ErrStreamCut, ""},
	{says(`failed to read from stream`), messages.ErrStreamCut, ""},
	{says(`checksum mismatch`), messages.ErrStreamCut, ""},
	{says(`invalid stream \((bad magic number|bad snapshot name|malformed nvlist)\)`), messages.ErrStreamMismatch, ""},

	{says(`encryption key not loaded`), messages.ErrKeys, "zfs load-key -r, on the encryption root that zfs get encryptionroot names"},

	// A stream that is not raw, into what is below an encrypted dataset. Not ErrKeys: a
	// receive that fails with that has a stream that was sealed to others.
	{says(`inherited key must be loaded`), messages.ErrPermission, "zfs load-key -r, on the encryption root of the dataset it is received into, which zfs get encryptionroot names"},

	{says(`dataset already exists`), messages.ErrExists, ""},
	{says(`pool or dataset exists`), messages.ErrExists, ""},
	{says(`bookmark exists`), messages.ErrExists, ""},
	{says(`tag already exists on this dataset`), messages.ErrExists, ""},

	{says(`snapshot has dependent clones`), messages.ErrBusy, "destroy the clones first"},
	{says(`filesystem has dependent clones`), messages.ErrBusy, "destroy the clones first"},
	{says(`filesystem has children`), messages.ErrBusy, "destroy the children first"},
	{says(`it's being held\. Run 'zfs holds -r .*' to see holders`), messages.ErrBusy, "zfs holds lists the holders"},
	{says(`(pool or )?dataset is busy`), messages.ErrBusy, ""},
	{says(`target is busy.*`), messages.ErrBusy, ""},
	{says(`unmount failed`), messages.ErrBusy, ""},
	{says(`^?it must not be mounted`), messages.ErrBusy, ""},

	{says(`dataset does not exist`), messages.ErrNotFound, ""},
	{says(`no such pool or dataset`), messages.ErrNotFound, ""},
	{says(`no such pool( '.*')?`), messages.ErrNotFound, ""},
	{says(`^bookmark '.*' does not exist`), messages.ErrNotFound, ""},
	{says(`snapshots to destroy; check snapshot names`), messages.ErrNotFound, ""},
	{says(`incremental source \(.*\) does not exist`), messages.ErrNotFound, ""},
	{says(`incremental source could not be found`), messages.ErrNotFound, ""},
	{says(`local origin for clone .* does not exist`), messages.ErrNotFound, "the stream's base snapshot is not here"},
	{says(`specified origin fs \(.*\) does not exist`), messages.ErrNotFound, "the stream's base snapshot is not here"},
	{says(`destination '.*' does not exist`), messages.ErrNotFound, ""},
	{says(`parent does not exist`), messages.ErrNotFound, ""},
	{says(`no such tag on this dataset`), messages.ErrNotFound, ""},

	{says(`[Pp]ermission denied( the ZFS utilities must be run as root)?`), messages.ErrPermission, hintMode},
	{says(`may only be mounted by root`), messages.ErrPermission, "Linux lets only root mount"},
	{says(`[Oo]peration not permitted`), messages.ErrPermission, hintMode},
	{says(`[Ii]nsufficient privileges`), messages.ErrPermission, hintMode},
	{says(`delegated administration is disabled on pool`), messages.ErrPermission, "zpool set delegation=on"},

	{says(`The ZFS modules are not loaded`), messages.ErrUnavailable, "modprobe zfs, as root"},
	{says(`The ZFS modules cannot be auto-loaded`), messages.ErrUnavailable, "modprobe zfs, as root"},
	{says(`/dev/zfs and /proc/self/mounts are required`), messages.ErrUnavailable, "modprobe zfs, as root"},
	{says(`zfs_version_kernel\(\) failed: .*`), messages.ErrUnavailable, "modprobe zfs, as root"},
	{says(`pool I/O is currently suspended`), messages.ErrUnavailable, "zpool status"},
	{says(`pool is unavailable`), messages.ErrUnavailable, "zpool status"},
}

// classify reads standard error; a text it does not know has no kind.
func classify(stderr string) (hint string, kind error) {
	for _, m := range meanings {
		if m.line.MatchString(stderr) {
			return m.hint, m.kind
		}
	}
	return "", nil
}
