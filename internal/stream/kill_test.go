package stream_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

// The writer and the reader in processes of their own. The reader's file is its
// partial receive and the file's length its token; the writer's source can go on at
// any offset, as zfs send -t does.
var roles = map[string]func(arg string) error{"writer": writerRole, "reader": readerRole}

type killArg struct {
	URL  string
	File string
	To   messages.GUID
	Size int64
}

type joinRequest struct {
	To         messages.GUID
	Size, From int64
	Not        messages.MessageID
}

const joinSubject = "test.join"

func killConfig() stream.Config {
	return stream.Config{
		Cluster: "main", PartSize: mib, ChunkSize: 128 * kib, Window: 8 * mib, Provision: true,
		Linger: time.Second, RateLimit: 48 * mib,
	}
}

func connect(url string) (jetstream.JetStream, error) {
	nc, err := nats.Connect(url, stream.ConnectOptions()...)
	if err != nil {
		return nil, err
	}
	return jetstream.New(nc, jetstream.WithDefaultTimeout(5*time.Second))
}

func writerRole(text string) error {
	var arg killArg
	if err := json.Unmarshal([]byte(text), &arg); err != nil {
		return err
	}
	js, err := connect(arg.URL)
	if err != nil {
		return err
	}
	store, err := stream.NewStore(js, killConfig())
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := store.Provision(ctx); err != nil {
		return err
	}
	hub := stream.NewHub(store)
	if err := hub.Sweep(ctx, func() error { return nil }); err != nil {
		return err
	}
	_, err = js.Conn().Subscribe(joinSubject, func(m *nats.Msg) { go answerJoin(ctx, hub, m) })
	if err != nil {
		return err
	}
	return hub.Run(ctx)
}

func answerJoin(ctx context.Context, hub *stream.Hub, m *nats.Msg) {
	var req joinRequest
	if json.Unmarshal(m.Data, &req) != nil {
		return
	}
	s := spec(req.To, 0)
	s.Stream, s.Not = messages.NewStreamID(req.To, 1, messages.FlagsPlain, messages.ResumeToken(fmt.Sprintf("1-%x", req.From))), req.Not
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var read atomic.Int64
	rec, err := hub.Join(ctx, s, "db2", openContent(int64(req.To), req.Size, req.From, &read))
	if err != nil {
		return // the reader asks again
	}
	if body, err := messages.Encode(&rec); err == nil {
		_ = m.Respond(body)
	}
}

func readerRole(text string) error {
	var arg killArg
	if err := json.Unmarshal([]byte(text), &arg); err != nil {
		return err
	}
	js, err := connect(arg.URL)
	if err != nil {
		return err
	}
	r, err := stream.NewReader(js, killConfig())
	if err != nil {
		return err
	}
	file, err := os.OpenFile(arg.File, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	req := joinRequest{To: arg.To, Size: arg.Size}
	for {
		info, err := file.Stat()
		if err != nil || info.Size() == arg.Size {
			return errors.Join(err, file.Close())
		}
		req.From = info.Size()
		rec, err := askToJoin(js.Conn(), &req)
		if err != nil {
			continue // the request took its time
		}
		_, err = r.Read(context.Background(), *rec, "db2", nil, func(_ context.Context, verified io.Reader) error {
			_, err := io.Copy(file, verified)
			return err
		})
		if err != nil && !errors.Is(err, messages.ErrStreamCut) {
			return err
		}
		req.Not = rec.Attempt
	}
}

func askToJoin(nc *nats.Conn, req *joinRequest) (*messages.StreamRecord, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	reply, err := nc.RequestWithContext(ctx, joinSubject, body)
	if errors.Is(err, nats.ErrNoResponders) {
		<-ctx.Done() // not in a circle
	}
	if err != nil {
		return nil, err
	}
	var rec messages.StreamRecord
	return &rec, messages.Decode(reply.Data, &rec)
}

// Streams follow each other until both sides have been killed -9 often enough, at
// random moments; every one of them arrives whole.
func TestWriterAndReaderAreKilled(t *testing.T) {
	size := int64(scale(t, envMiB, 64)) * mib
	kills := scale(t, envKills, 5)
	server := natstest.StartProcess(t)
	arg := killArg{URL: server.URL(), Size: size}
	var writers, readers, streams int
	writer := play(t, "writer", arg)
	for to := messages.GUID(10); writers < kills || readers < kills; to++ {
		arg.To, arg.File = to, filepath.Join(t.TempDir(), "received")
		reader := play(t, "reader", arg)
		for !ended(t, reader) {
			if writers <= readers {
				writer.Kill()
				writer = play(t, "writer", arg)
				writers++
			} else {
				reader.Kill()
				reader = play(t, "reader", arg)
				readers++
			}
		}
		wantContent(t, arg)
		streams++
	}
	t.Logf("%d streams of %d MiB, writer killed %d times, reader %d times, all identical", streams, size/mib, writers, readers)
}

func play(t *testing.T, role string, arg killArg) *natstest.Child {
	t.Helper()
	text, err := json.Marshal(arg)
	if err != nil {
		t.Fatal(err)
	}
	return natstest.StartChild(t, role, string(text))
}

// ended waits for a random time whether the reader gets done; it may not fail.
func ended(t *testing.T, reader *natstest.Child) bool {
	t.Helper()
	timer := time.NewTimer(50*time.Millisecond + rand.N(1200*time.Millisecond))
	defer timer.Stop()
	select {
	case <-timer.C:
		return false
	case <-reader.Done():
		if err := reader.Err(); err != nil {
			t.Fatalf("the reader failed: %v", err)
		}
		return true
	}
}

func wantContent(t *testing.T, arg killArg) {
	t.Helper()
	f, err := os.Open(arg.File)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := expect(f, newContent(int64(arg.To), arg.Size, 0)); err != nil {
		t.Fatalf("stream %d: %v", arg.To, err)
	}
	if err := os.Remove(arg.File); err != nil {
		t.Error(err)
	}
}

// kill -9 of the server, again and again within one stream, which neither side
// begins anew.
func TestServerIsKilledInMidStream(t *testing.T) {
	t.Parallel() // it waits most of the time
	size := int64(scale(t, envMiB, 64)) * mib
	kills := scale(t, envKills, 4)
	server := natstest.StartProcess(t)
	cfg := killConfig()
	cfg.RateLimit = 0
	js := natstest.JetStream(t, natstest.Connect(t, server.URL(), stream.ConnectOptions()...))
	w := &world{t: t, js: js, cfg: cfg, ns: messages.Subjects{Cluster: "main"}}
	w.start()
	var read atomic.Int64
	rec := w.join(2, "db2", openContent(2, size, 0, &read))
	reader, err := stream.NewReader(natstest.JetStream(t, natstest.Connect(t, server.URL(), stream.ConnectOptions()...)), cfg)
	if err != nil {
		t.Fatal(err)
	}
	step := size / int64(kills+1)
	due := step
	stats, err := reader.Read(t.Context(), rec, "db2", func(bytes uint64) {
		if int64(bytes) >= due && due < size-step/2 {
			due += step
			server.Kill()
			server.Start()
		}
	}, func(_ context.Context, r io.Reader) error { return expect(r, newContent(2, size, 0)) })
	if err != nil {
		t.Fatal(err)
	}
	if read.Load() != size {
		t.Errorf("%d bytes were read from the source, want %d: once", read.Load(), size)
	}
	t.Logf("%d MiB over %d kills of the server, %d refetches, identical", size/mib, kills, stats.Refetches)
}
