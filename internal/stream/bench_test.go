package stream_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

const benchBytes = 512 * mib

// endless gives benchBytes of one incompressible block again and again.
func endless() io.Reader { return io.LimitReader(&cycle{block: noise(4*mib, 1)}, benchBytes) }

type cycle struct {
	block []byte
	at    int
}

func (c *cycle) Read(p []byte) (int, error) {
	n := copy(p, c.block[c.at:])
	c.at = (c.at + n) % len(c.block)
	return n, nil
}

// BenchmarkUploadDownload is one stream through one server in this process.
func BenchmarkUploadDownload(b *testing.B) {
	w := newWorld(b, func(c *stream.Config) {
		*c = stream.Config{Cluster: "main", Provision: true, Linger: time.Nanosecond}
	})
	reader := w.reader()
	b.SetBytes(benchBytes)
	to := messages.GUID(1)
	for b.Loop() {
		to++
		rec := w.join(to, "db2", func(context.Context) (io.ReadCloser, error) { return io.NopCloser(endless()), nil })
		_, err := reader.Read(b.Context(), rec, "db2", nil, func(_ context.Context, r io.Reader) error {
			_, err := io.Copy(io.Discard, r)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCopy is the same bytes through a pipe, without a broker.
func BenchmarkCopy(b *testing.B) {
	b.SetBytes(benchBytes)
	for b.Loop() {
		r, w := io.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, err := io.CopyBuffer(struct{ io.Writer }{w}, endless(), make([]byte, mib))
			w.CloseWithError(err)
		}()
		if _, err := io.Copy(io.Discard, r); err != nil {
			b.Fatal(err)
		}
		<-done
	}
}
