package seal

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"filippo.io/age"

	"github.com/pgresync/pgresync/messages"
)

// preface is what the plaintext of rec's stream begins with.
func preface(rec *messages.StreamRecord) []byte {
	return fmt.Appendf(nil, "pgresync/sealed/1\n%s\n%s\n%s\n%s %s\n", rec.Cluster, rec.Dataset, rec.Stream, rec.From, rec.To)
}

// Seal encrypts src to rec.Recipients. The reader ends in io.EOF only where src
// does; Close closes src, which must end a Read of it that blocks.
func (r *Recipients) Seal(rec messages.StreamRecord, src io.ReadCloser) (io.ReadCloser, error) {
	keys := make([]age.Recipient, len(rec.Recipients))
	for i, s := range rec.Recipients {
		var err error
		if keys[i], err = parseKey(s); err != nil {
			return nil, err
		}
	}
	out, in := io.Pipe()
	s := &sealed{PipeReader: out, src: src}
	s.done.Go(func() { _ = in.CloseWithError(encrypt(in, src, preface(&rec), keys)) }) // it never fails
	return s, nil
}

// encrypt leaves the file without its last piece when src fails: what was sealed of
// it does not open as a whole.
func encrypt(dst io.Writer, src io.Reader, head []byte, keys []age.Recipient) error {
	w, err := age.Encrypt(dst, keys...)
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{src}, make([]byte, 256<<10)); err != nil {
		return err
	}
	return w.Close()
}

// sealed is the ciphertext of src.
type sealed struct {
	*io.PipeReader
	src  io.Closer
	done sync.WaitGroup
}

var errClosed = errors.New("the sealed stream was closed")

// Close returns src's error, and not before nothing reads src any more.
func (s *sealed) Close() error {
	_ = s.CloseWithError(errClosed) // it never fails
	err := s.src.Close()
	s.done.Wait()
	return err
}
