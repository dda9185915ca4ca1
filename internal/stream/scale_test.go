package stream_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
)

// The tests of faults move little and try a few times, unless the environment
// says otherwise: `make test-stream-faults` has the numbers that count.
func scale(t *testing.T, variable string, small int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		if testing.Short() {
			t.Skip("takes a while")
		}
		return small
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

const (
	envMiB    = "PGRESYNC_TEST_STREAM_MIB"    // size of a stream
	envRounds = "PGRESYNC_TEST_STREAM_ROUNDS" // how many
	envKills  = "PGRESYNC_TEST_STREAM_KILLS"  // of each kind
	envCut    = "PGRESYNC_TEST_STREAM_CUT"    // for how long a line is cut, in seconds
)

// content is a stream of any size whose bytes can be told at every offset, like a
// snapshot's.
type content struct {
	seed, size, at int64
	block          []byte
	number         int64 // of block
}

const contentBlock = 64 * kib

func newContent(seed, size, from int64) *content {
	return &content{seed: seed, size: size, at: from, block: make([]byte, contentBlock), number: -1}
}

func (c *content) Read(p []byte) (int, error) {
	if c.at >= c.size {
		return 0, io.EOF
	}
	if n := c.at / contentBlock; n != c.number {
		var key [32]byte
		binary.LittleEndian.PutUint64(key[:], uint64(c.seed))
		binary.LittleEndian.PutUint64(key[8:], uint64(n))
		_, _ = rand.NewChaCha8(key).Read(c.block)
		c.number = n
	}
	rest := c.block[c.at%contentBlock:]
	n := copy(p, rest[:min(int64(len(rest)), c.size-c.at)])
	c.at += int64(n)
	return n, nil
}

// contentSource is a zfs send of content.
type contentSource struct {
	*content
	ctx  context.Context //nolint:containedctx // a child process has one, too
	read *atomic.Int64
}

func (s contentSource) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.content.Read(p)
	s.read.Add(int64(n))
	return n, err
}

func (contentSource) Close() error { return nil }

func openContent(seed, size, from int64, read *atomic.Int64) func(context.Context) (io.ReadCloser, error) {
	return func(ctx context.Context) (io.ReadCloser, error) {
		return contentSource{newContent(seed, size, from), ctx, read}, nil
	}
}

// expect reads all of r and compares it with content, in little memory.
func expect(r io.Reader, want *content) error {
	got, should := make([]byte, contentBlock), make([]byte, contentBlock)
	for {
		n, err := io.ReadFull(r, got)
		if _, werr := io.ReadFull(want, should[:n]); werr != nil && n > 0 {
			return fmt.Errorf("the stream goes on after byte %d", want.at)
		}
		if !bytes.Equal(got[:n], should[:n]) {
			return fmt.Errorf("the %d bytes before byte %d differ", n, want.at)
		}
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			if want.at != want.size {
				return fmt.Errorf("the stream ended after %d bytes of %d", want.at, want.size)
			}
			return nil
		case err != nil:
			return err
		}
	}
}

func TestContentIsTheSameFromEveryOffset(t *testing.T) {
	whole, err := io.ReadAll(newContent(1, 3*contentBlock+5, 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []int64{0, 1, contentBlock, contentBlock + 7, 3*contentBlock + 5} {
		got, err := io.ReadAll(newContent(1, 3*contentBlock+5, from))
		if err != nil {
			t.Fatal(err)
		}
		wantBytes(t, got, whole[from:])
	}
	if err := expect(bytes.NewReader(whole[:100]), newContent(1, 3*contentBlock+5, 0)); err == nil {
		t.Error("a stream that is too short passes")
	}
	whole[contentBlock]++
	if err := expect(bytes.NewReader(whole), newContent(1, 3*contentBlock+5, 0)); err == nil {
		t.Error("other bytes pass")
	}
}
