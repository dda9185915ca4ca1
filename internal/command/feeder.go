package command

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"
)

// ErrInputLeft means that the child exited 0 without reading all of its input.
var ErrInputLeft = errors.New("the program ended before its input did")

// feeder copies a reader into a child's standard input. Unlike exec's own
// copying it never outlives the run: Wait may give up on a goroutine blocked in
// Read, which would then touch a reader that the caller has taken back.
type feeder struct {
	src   io.Reader
	child *os.File // the child's end
	pipe  *os.File // ours
	done  chan struct{}

	readErr  error // set before done is closed
	writeErr error
	stop     atomic.Bool
}

func newFeeder(src io.Reader) (*feeder, error) {
	child, pipe, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	growPipe(pipe)
	return &feeder{src: src, child: child, pipe: pipe, done: make(chan struct{})}, nil
}

// started, of a nil feeder too, begins to copy if the child is there, else gives the pipe back.
func (f *feeder) started(ok bool) {
	if f == nil {
		return
	}
	f.child.Close() //nolint:errcheck,gosec // the child has its own copy
	if !ok {
		f.pipe.Close() //nolint:errcheck,gosec // never used
		close(f.done)
		return
	}
	go f.copy()
}

func (f *feeder) copy() {
	defer close(f.done)
	// Closing the pipe is how the child learns of the end, early or not.
	defer f.pipe.Close()       //nolint:errcheck // nothing is buffered in it
	buf := make([]byte, 1<<20) // the size of the pipe
	for {
		n, err := f.src.Read(buf)
		if f.stop.Load() {
			return // the child is gone: what may follow is not for it
		}
		if n > 0 {
			if _, werr := f.pipe.Write(buf[:n]); werr != nil {
				f.writeErr = werr
				return
			}
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			f.readErr = err
			return
		}
	}
}

// finish waits until the reader is no longer used and reports its error, or
// that a successful child left input unread. After a failure the reader is
// closed, if it can be, to end a blocked Read.
func (f *feeder) finish(success bool) error {
	if f == nil {
		return nil
	}
	if !success && f.interrupt() {
		// An error of a reader that we closed ourselves says nothing.
		<-f.done
		return nil
	}
	<-f.done
	switch {
	case f.readErr != nil:
		return f.readErr
	case success && f.writeErr != nil:
		if errors.Is(f.writeErr, syscall.EPIPE) {
			return ErrInputLeft
		}
		return f.writeErr
	}
	return nil
}

// interrupt ends a copy that is still under way, if there is one.
func (f *feeder) interrupt() bool {
	select {
	case <-f.done:
		return false
	default:
	}
	f.stop.Store(true)
	f.pipe.Close() //nolint:errcheck,gosec // a descendant may hold the other end open
	if c, ok := f.src.(io.Closer); ok {
		c.Close() //nolint:errcheck,gosec // the child's error is the one that counts
	}
	return true
}
