package e2e

import (
	"context"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pgresync/pgresync/e2e/world"
)

// TestShown keeps a cluster of PGRESYNC_TEST_SHOWN_NODES nodes busy with resyncs while
// somebody outside of the machine looks at its sidecars, each at a port of its own:
// the first is in PGRESYNC_TEST_SHOWN. A connection to the port after the last ends
// it.
func TestShown(t *testing.T) {
	bin, out := requireLab(t)
	first, err := strconv.Atoi(os.Getenv("PGRESYNC_TEST_SHOWN"))
	nodes, nerr := strconv.Atoi(os.Getenv("PGRESYNC_TEST_SHOWN_NODES"))
	if err != nil || nerr != nil {
		t.Skip("somebody has to look: make test-shown")
	}
	w, err := world.New(t.Context(), world.Options{Nodes: []string{"db1", "db2", "db3"}[:nodes], Bin: bin, Out: out, Broker: true, Tail: tail})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	db1, standbys := w.Node("db1"), w.Nodes()[1:]
	must(t, db1.InitPrimary(t.Context()))
	must(t, db1.Fill(t.Context(), scale, 16<<20))
	for i, n := range w.Nodes() {
		// Slow enough to be looked at.
		env := map[string]string{"PGRESYNC_HTTP_LISTEN": n.Address() + ":8080", "PGRESYNC_RATE_LIMIT": "2MiB", "PGRESYNC_LOG_LEVEL": "info"}
		kind := world.Secondary
		if n == db1 {
			kind = world.Primary
			delete(env, "PGRESYNC_RATE_LIMIT")
		}
		_, err := n.StartSidecar(t.Context(), kind, env)
		must(t, err)
		forward(t, first+i, n.Address()+":8080")
	}
	_, err = db1.StartLoad(t.Context(), 1)
	must(t, err)
	enough := told(t, first+nodes)
	for round := uint64(2); ; round++ {
		must(t, w.Streaming(t.Context(), 2*patience, db1, standbys...))
		select {
		case <-enough:
			return
		default:
		}
		must(t, db1.AddDocuments(t.Context(), round, 8<<20))
		if round%2 == 0 {
			_, err = w.Pgresync(t.Context(), "resync", "--all", "--wait")
		} else {
			// This one is noticed by the sidecar.
			err = db1.LoseSlot(t.Context(), standbys[len(standbys)-1])
		}
		must(t, err)
	}
}

// listen is closed when the test ends, which waits for handle.
func listen(t *testing.T, port int, handle func(net.Conn)) {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", ":"+strconv.Itoa(port))
	must(t, err)
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { handle(c) })
		}
	})
}

// forward passes connections to a port on to an address, until the test ends.
func forward(t *testing.T, port int, to string) {
	t.Helper()
	listen(t, port, func(from net.Conn) {
		defer from.Close()
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", to)
		if err != nil {
			return // the sidecar does not listen yet: he who asked tries again
		}
		defer c.Close()
		defer context.AfterFunc(t.Context(), func() { _, _ = from.Close(), c.Close() })()
		var wg sync.WaitGroup
		pass := func(dst, src net.Conn) {
			_, _ = io.Copy(dst, src) // either end may go at any time
			_, _ = dst.Close(), src.Close()
		}
		wg.Go(func() { pass(c, from) })
		pass(from, c)
		wg.Wait()
	})
}

// told is closed by the first connection to a port, or at the end of the test's
// patience with who looks.
func told(t *testing.T, port int) <-chan struct{} {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Hour)
	t.Cleanup(stop)
	listen(t, port, func(c net.Conn) { _ = c.Close(); stop() })
	return ctx.Done()
}
