package messages

import "errors"

// The few errors that services tell apart, whichever adapter they come from;
// compare with errors.Is.
var (
	// ErrNotFound: the dataset, snapshot, slot, lease or key is not there.
	ErrNotFound = errors.New("not found")
	// ErrExists: it is there already, and is not what was asked for.
	ErrExists = errors.New("exists already")
	// ErrBusy: in use; nothing was changed.
	ErrBusy = errors.New("busy")
	// ErrNotOurs: it does not carry our mark, so it is left alone (I-2).
	ErrNotOurs = errors.New("does not carry pgresync's mark")
	// ErrStreamMismatch: the stream is not the announced one; nothing was received (I-5).
	ErrStreamMismatch = errors.New("stream is not the announced one")
	// ErrStreamCut: the stream ended early; what was received may be resumable.
	ErrStreamCut = errors.New("stream ended early")
	// ErrTokenInvalid: a resume token is malformed, or for other snapshots, or its
	// snapshot is gone.
	ErrTokenInvalid = errors.New("resume token is not usable")
	// ErrNoSpace: pool, quota or bucket is full.
	ErrNoSpace = errors.New("no space left")
	// ErrNotPrimary: the node does not publish now.
	ErrNotPrimary = errors.New("not the publishing primary")
	// ErrRefused: a gate is closed on purpose; the text says which.
	ErrRefused = errors.New("refused")
	// ErrUnavailable: a service or server does not answer now; try again.
	ErrUnavailable = errors.New("unavailable")
	// ErrQueued: others are being served; ask again soon, and the place in the queue
	// is kept.
	ErrQueued = errors.New("waits for others")
	// ErrLeaseLost: another node took the lease, or it expired.
	ErrLeaseLost = errors.New("lease lost")
	// ErrKeys: a stream is encrypted to others, or is not although it has to be.
	ErrKeys = errors.New("encryption keys do not fit")
	// ErrPermission: the operating system, ZFS, PostgreSQL or NATS denied it.
	ErrPermission = errors.New("permission denied")
)
