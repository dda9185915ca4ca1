package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/command"
	"github.com/pgresync/pgresync/internal/daemon/settings"
	"github.com/pgresync/pgresync/internal/seal"
	"github.com/pgresync/pgresync/internal/stream"
	"github.com/pgresync/pgresync/messages"
)

func nodeName(n int) string { return fmt.Sprintf("db%d", n+2) }

// upload is the publisher's side, as the primary sidecar has it.
type upload struct {
	url, store, from, profile    string
	recipients                   settings.Words
	readers, part, window, chunk int
	flight, rate                 int
	children, linger, memory     bool
	out                          io.Writer
	complete                     chan struct{}
	once                         sync.Once
}

// writerWorker prints the server's address, the record of the upload once all
// readers are attached, a line when everything is stored, and ends with its input.
func writerWorker(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	u := &upload{out: stdout, complete: make(chan struct{})}
	f := flag.NewFlagSet("writer", flag.ContinueOnError)
	f.StringVar(&u.url, "url", "", "server; empty to embed one")
	f.StringVar(&u.store, "store", "", "the embedded server's directory")
	f.StringVar(&u.from, "from", "", "file")
	f.StringVar(&u.profile, "profile", "", "file for a CPU profile")
	f.Func("recipient", "public key to encrypt to", func(s string) error { return u.recipients.UnmarshalText([]byte(s)) })
	f.IntVar(&u.readers, "readers", 1, "how many")
	f.IntVar(&u.part, "part", 0, "bytes")
	f.IntVar(&u.window, "window", 0, "bytes")
	f.IntVar(&u.chunk, "chunk", 0, "bytes")
	f.IntVar(&u.flight, "flight", 0, "bytes")
	f.IntVar(&u.rate, "rate", 0, "MiB/s of the source")
	f.BoolVar(&u.children, "children", false, "read the file through a child")
	f.BoolVar(&u.memory, "memory", false, "store in memory")
	f.BoolVar(&u.linger, "linger", false, "keep the parts")
	if err := f.Parse(args); err != nil {
		return err
	}
	return profiled(u.profile, func() error { return u.run(ctx, stdin) })
}

func (u *upload) run(ctx context.Context, stdin io.Reader) error {
	if u.url == "" {
		e, err := bus.StartEmbedded(ctx, bus.EmbeddedConfig{Listen: "127.0.0.1:0", StoreDir: u.store, MaxStore: 100 << 30})
		if err != nil {
			return err
		}
		defer e.Close()
		u.url = e.URL()
	}
	if _, err := fmt.Fprintln(u.out, u.url); err != nil {
		return err
	}
	hub, err := u.hub(ctx)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var runErr error
	wg.Go(func() { runErr = hub.Run(ctx) })
	err = u.attach(ctx, hub)
	if err == nil {
		_, err = io.Copy(io.Discard, stdin)
	}
	stop()
	wg.Wait()
	return errors.Join(err, runErr)
}

func (u *upload) hub(ctx context.Context) (*stream.Hub, error) {
	js, err := connect(u.url)
	if err != nil {
		return nil, err
	}
	linger := time.Nanosecond
	if u.linger {
		linger = time.Hour
	}
	storage := jetstream.FileStorage
	if u.memory {
		storage = jetstream.MemoryStorage
	}
	store, err := stream.NewStore(js, stream.Config{
		Cluster: "bench", PartSize: u.part, ChunkSize: u.chunk, InFlight: u.flight, Window: u.window, MaxUploads: 1,
		Provision: true, Linger: linger, Storage: storage,
	})
	if err != nil {
		return nil, err
	}
	if err := store.Provision(ctx); err != nil {
		return nil, err
	}
	return stream.NewHub(store, stream.OnChange(func(r messages.StreamRecord) {
		if r.State == messages.StreamComplete {
			u.once.Do(func() { close(u.complete) })
		}
	})), nil
}

// attach joins every reader before a byte moves, and tells of the upload.
func (u *upload) attach(ctx context.Context, hub *stream.Hub) error {
	seals, err := seal.NewRecipients(u.recipients)
	if err != nil {
		return err
	}
	spec := stream.Spec{
		Stream: messages.NewStreamID(2, 1, messages.FlagsPlain, "", u.recipients...), Node: "db1", Dataset: "data", To: 2, From: 1,
		Flags: messages.FlagsPlain, Recipients: u.recipients,
	}
	sealing := messages.StreamRecord{
		Stream: spec.Stream, Cluster: "bench", Dataset: spec.Dataset, To: spec.To, From: spec.From, Recipients: spec.Recipients,
	}
	attached := make(chan struct{})
	var rec messages.StreamRecord
	for n := range u.readers {
		var err error
		rec, err = hub.Join(ctx, spec, messages.NodeName(nodeName(n)), func(ctx context.Context) (io.ReadCloser, error) {
			src, err := u.open(ctx)
			if err == nil && seals != nil {
				src, err = seals.Seal(sealing, src)
			}
			return &gate{ReadCloser: src, ctx: ctx, open: attached}, err
		})
		if err != nil {
			return err
		}
	}
	close(attached)
	body, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(u.out, string(body)); err != nil {
		return err
	}
	if !u.linger {
		return nil
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-u.complete:
		_, err := fmt.Fprintln(u.out, "complete")
		return err
	}
}

func (u *upload) open(ctx context.Context) (src io.ReadCloser, err error) {
	if u.children {
		src, err = command.Command{Path: "dd", Args: []string{"if=" + u.from, "bs=128k", "status=none"}}.Stream(ctx)
	} else {
		src, err = os.Open(u.from)
	}
	if err == nil && u.rate > 0 {
		src = &paced{ReadCloser: src, ctx: ctx, rate: float64(u.rate << 20)}
	}
	return src, err
}

func connect(url string) (jetstream.JetStream, error) {
	nc, err := nats.Connect(url, stream.ConnectOptions()...)
	if err != nil {
		return nil, err
	}
	return jetstream.New(nc)
}
