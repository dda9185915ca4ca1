package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

const fetchDeadline = 5 * time.Minute

// fetcher reads stored parts in one of the ways that JetStream has: the choice
// that stream.Reader made is one of them ("pull").
type fetcher struct {
	js     jetstream.JetStream
	stream string // of the bucket
	pull   int
	chunk  int

	sum hash.Hash
	got int
}

// one reads the chunks on a subject, count of them, and gives each to take.
type one func(ctx context.Context, f *fetcher, subject string, count int) error

func fetchWorker(ctx context.Context, args []string, stdin io.Reader, _ io.Writer) error {
	fs := flag.NewFlagSet("fetch", flag.ContinueOnError)
	url, kind, pull := fs.String("url", "", "server"), fs.String("kind", "", "way"), fs.Int("pull", 0, "bytes")
	profile := fs.String("profile", "", "file for a CPU profile")
	_ = fs.String("to", "", "ignored: what is read is dropped")
	if err := fs.Parse(args); err != nil {
		return err
	}
	way := map[string]one{"pull": twoPulls, "whole": onePull, "ordered": ordered, "push": push, "direct": direct}[*kind]
	if way == nil {
		return fmt.Errorf("no way is called %s", *kind)
	}
	var rec messages.StreamRecord
	if err := json.NewDecoder(stdin).Decode(&rec); err != nil {
		return err
	}
	js, err := connect(*url)
	if err != nil {
		return err
	}
	f := &fetcher{js: js, pull: *pull, stream: "OBJ_" + messages.Subjects{Cluster: rec.Cluster}.Bucket()}
	ctx, cancel := context.WithTimeout(ctx, fetchDeadline)
	defer cancel()
	return profiled(*profile, func() error { return f.all(ctx, rec, way) })
}

// all reads every part of the upload and checks it.
func (f *fetcher) all(ctx context.Context, rec messages.StreamRecord, way one) error {
	ns := messages.Subjects{Cluster: rec.Cluster}
	parts, err := f.parts(ctx, ns, rec)
	if err != nil {
		return err
	}
	for _, p := range parts {
		f.sum, f.got = sha256.New(), 0
		f.chunk = max(1, int(p.Size)/max(1, p.Chunks))
		if err := way(ctx, f, "$O."+ns.Bucket()+".C."+p.Nuid, p.Chunks); err != nil {
			return fmt.Errorf("part %d: %w", p.Index, err)
		}
		if hex.EncodeToString(f.sum.Sum(nil)) != p.SHA256 {
			return fmt.Errorf("part %d: %d bytes with another hash", p.Index, f.got)
		}
	}
	return nil
}

// parts lists the announcements.
func (f *fetcher) parts(ctx context.Context, ns messages.Subjects, rec messages.StreamRecord) (out []messages.Part, err error) {
	s, err := f.js.Stream(ctx, ns.PartsStream())
	if err != nil {
		return nil, err
	}
	for n := 0; ; n++ {
		msg, err := s.GetLastMsgForSubject(ctx, ns.Part(rec.Stream, rec.Attempt, n))
		if errors.Is(err, jetstream.ErrMsgNotFound) && n > 0 {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		var p messages.Part
		if err := messages.Decode(msg.Data, &p); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
}

func (f *fetcher) take(data []byte) {
	f.sum.Write(data)
	f.got += len(data)
}

// twoPulls keeps two requests under way.
func twoPulls(ctx context.Context, f *fetcher, subject string, count int) error {
	return f.byPull(ctx, subject, count, max(1, f.pull/f.chunk))
}

// onePull asks for everything at once.
func onePull(ctx context.Context, f *fetcher, subject string, count int) error {
	return f.byPull(ctx, subject, count, count)
}

func (f *fetcher) byPull(ctx context.Context, subject string, count, batch int) error {
	cons, err := f.js.CreateConsumer(ctx, f.stream, jetstream.ConsumerConfig{
		FilterSubject: subject, AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return err
	}
	name := cons.CachedInfo().Name
	defer func() { _ = f.js.DeleteConsumer(ctx, f.stream, name) }()
	sub, err := f.js.Conn().SubscribeSync(nats.NewInbox())
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	asked := 0
	for got := range count {
		for asked < count && asked-got <= batch {
			n := min(batch, count-asked)
			body := fmt.Appendf(nil, `{"batch":%d,"expires":%d}`, n, time.Minute)
			if err := f.js.Conn().PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+f.stream+"."+name, sub.Subject, body); err != nil {
				return err
			}
			asked += n
		}
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return err
		}
		f.take(msg.Data)
	}
	return nil
}

func ordered(ctx context.Context, f *fetcher, subject string, count int) error {
	cons, err := f.js.OrderedConsumer(ctx, f.stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		return err
	}
	it, err := cons.Messages(jetstream.PullMaxBytes(16 << 20))
	if err != nil {
		return err
	}
	defer it.Stop()
	for range count {
		msg, err := it.Next()
		if err != nil {
			return err
		}
		f.take(msg.Data())
	}
	return nil
}

// push is what ObjectStore.Get does: a consumer to which the server sends.
func push(ctx context.Context, f *fetcher, subject string, count int) error {
	js, err := f.js.Conn().JetStream()
	if err != nil {
		return err
	}
	sub, err := js.SubscribeSync(subject, nats.OrderedConsumer(), nats.BindStream(f.stream))
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	for range count {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return err
		}
		f.take(msg.Data)
	}
	return nil
}

// direct asks for batches without a consumer (ADR-31); where the next one begins
// is known only after the last.
func direct(ctx context.Context, f *fetcher, subject string, count int) error {
	sub, err := f.js.Conn().SubscribeSync(nats.NewInbox())
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	next := uint64(1)
	for got := 0; got < count; {
		body := fmt.Appendf(nil, `{"seq":%d,"next_by_subj":%q,"batch":%d,"max_bytes":%d}`, next, subject, count-got, 16<<20)
		if err := f.js.Conn().PublishRequest("$JS.API.DIRECT.GET."+f.stream, sub.Subject, body); err != nil {
			return err
		}
		for {
			msg, err := sub.NextMsgWithContext(ctx)
			if err != nil {
				return err
			}
			if status := msg.Header.Get("Status"); status == "204" {
				break
			} else if status != "" {
				return fmt.Errorf("direct get: %s %s", status, msg.Header.Get("Description"))
			}
			if _, err := fmt.Sscan(msg.Header.Get("Nats-Sequence"), &next); err != nil {
				return err
			}
			next++
			f.take(msg.Data)
			got++
		}
	}
	return nil
}
