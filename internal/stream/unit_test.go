package stream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/messages"
)

// The window's promises: no part goes that a reader still needs, never more
// than the window is stored (one part excepted), and what fits is let in.
func TestLedgerKeepsItsWindow(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const window = 100
		var l ledger
		stored := map[int]uint64{}
		floor := rapid.IntRange(0, 3)
		consumed, seq := 0, uint64(0)
		for range 200 {
			consumed = min(l.next, consumed+floor.Draw(rt, "consumed"))
			if got := l.consumedBy(seqOf(&l, consumed)); got != consumed && got < l.next-len(l.parts) {
				rt.Fatalf("floor of part %d reads as %d", consumed, got)
			}
			size := uint64(rapid.IntRange(1, 120).Draw(rt, "size"))
			victims, ok := l.makeRoom(size, window, consumed)
			for _, v := range victims {
				if v.part.Index >= consumed {
					rt.Fatalf("part %d was evicted, only %d are consumed", v.part.Index, consumed)
				}
				delete(stored, v.part.Index)
			}
			if !ok {
				continue
			}
			seq += 7
			l.announced(messages.Part{Index: l.next, Size: size}, seq)
			stored[l.next-1] = size
			var sum uint64
			for _, n := range stored {
				sum += n
			}
			if sum != l.bytes || sum > window && len(stored) > 1 {
				rt.Fatalf("%d bytes are stored, the ledger says %d, the window is %d", sum, l.bytes, window)
			}
		}
	})
}

// seqOf is the floor of a reader that acknowledged n parts.
func seqOf(l *ledger, n int) uint64 {
	for _, p := range l.parts {
		if p.part.Index == n-1 {
			return p.seq
		}
	}
	return 0
}

func TestConsumedByCountsEvictedParts(t *testing.T) {
	l := ledger{next: 5, parts: []retained{
		{messages.Part{Index: 3}, 30}, {messages.Part{Index: 4}, 41},
	}}
	for floor, want := range map[uint64]int{0: 3, 29: 3, 30: 4, 40: 4, 41: 5, 99: 5} {
		if got := l.consumedBy(floor); got != want {
			t.Errorf("consumedBy(%d) is %d, want %d", floor, got, want)
		}
	}
}

// drain runs a pump and returns the confirmed pieces' bytes.
func drain(t *testing.T, src io.Reader, size int, closeErr error) ([]byte, error) {
	t.Helper()
	p := newPump()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.run(t.Context(), src, size, func() error { return closeErr })
	}()
	defer func() { <-done }()
	var out []byte
	for pc := range p.pieces {
		if pc.sum != sha256.Sum256(pc.data) || pc.offset != uint64(len(out)) {
			t.Errorf("piece %d has a wrong sum or offset", pc.index)
		}
		if err := <-pc.confirmed; err != nil {
			return out, err
		}
		out = append(out, pc.data...)
		p.giveBack(pc)
	}
	return out, p.err
}

func TestPump(t *testing.T) {
	broken := errors.New("exit status 1")
	for _, n := range []int{1, 9, 10, 11, 20, 35} {
		data := bytes.Repeat([]byte("x"), n)
		sources := map[string]func() io.Reader{
			"plain":        func() io.Reader { return bytes.NewReader(data) },
			"byte by byte": func() io.Reader { return iotest.OneByteReader(bytes.NewReader(data)) },
			"data and EOF": func() io.Reader { return iotest.DataErrReader(bytes.NewReader(data)) },
		}
		for name, src := range sources {
			if got, err := drain(t, src(), 10, nil); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s, %d bytes: got %d, error %v", name, n, len(got), err)
			}
			last := (n - 1) / 10 * 10
			if got, err := drain(t, src(), 10, broken); !errors.Is(err, broken) || len(got) > last {
				t.Errorf("%s, %d bytes, broken at close: got %d, error %v", name, n, len(got), err)
			}
			failing := io.MultiReader(src(), iotest.ErrReader(broken))
			if got, err := drain(t, failing, 10, nil); !errors.Is(err, broken) || len(got) != last {
				t.Errorf("%s, %d bytes, then an error: got %d, want %d, error %v", name, n, len(got), last, err)
			}
		}
	}
}

func TestPumpStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := newPump()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.run(ctx, bytes.NewReader(make([]byte, 100)), 10, func() error { return nil })
	}()
	<-p.pieces
	cancel()
	for range p.pieces { // one may be under way
	}
	<-done
	if !errors.Is(p.err, context.Canceled) {
		t.Errorf("error is %v, want context.Canceled", p.err)
	}
}

func TestConfigDefaultsAreValid(t *testing.T) {
	c := Config{Cluster: "main"}.withDefaults()
	if err := c.validate(); err != nil {
		t.Error(err)
	}
	if got := c.partSize(0); got != 16<<20 {
		t.Errorf("part for an unknown size is %d", got)
	}
	for estimate, want := range map[uint64]int{1: 1 << 20, 8 << 20: 1 << 20, 64 << 20: 8 << 20, 1 << 40: 16 << 20} {
		if got := c.partSize(estimate); got != want {
			t.Errorf("part for %d bytes is %d, want %d", estimate, got, want)
		}
	}
}

func TestConfigNamesWhatIsWrong(t *testing.T) {
	c := Config{Cluster: "main", PartSize: 1 << 30, Window: 5, Replicas: 9}.withDefaults()
	err := c.validate()
	for _, word := range []string{"part size", "window", "replicas"} {
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(word)) {
			t.Errorf("error does not name %s: %v", word, err)
		}
	}
}

func TestStandstillCountsWhatNobodyElseIsToBlameFor(t *testing.T) {
	cfg := Config{StallTimeout: 10 * time.Second, CutTimeout: time.Minute}
	const second = time.Second
	var s standstill
	for i := range 100 { // it moves
		if err := s.check(cfg, second, uint64(i), true, false); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 { // it waits for readers
		if err := s.check(cfg, second, 99, true, true); err != nil {
			t.Fatal(err)
		}
	}
	for range 60 { // nobody can move
		if err := s.check(cfg, second, 99, false, false); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		if err := s.check(cfg, second, 99, true, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.check(cfg, second, 99, true, false); err == nil {
		t.Error("11 s without a byte pass")
	}
	if err := s.check(cfg, second, 100, false, false); err != nil {
		t.Errorf("after a byte: %v", err)
	}
	for range 60 {
		_ = s.check(cfg, second, 100, false, false)
	}
	if err := s.check(cfg, second, 100, false, false); err == nil {
		t.Error("more than a minute without a connection passes")
	}
}

// Without a connection no reader can say that it took something, and no window is
// worth a snapshot for ever.
func TestStandstillCountsACutWhilePaused(t *testing.T) {
	cfg := Config{StallTimeout: 10 * time.Second, CutTimeout: time.Minute}
	var s standstill
	for range 60 {
		if err := s.check(cfg, time.Second, 0, false, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.check(cfg, time.Second, 0, false, true); err == nil {
		t.Error("more than a minute without a connection passes")
	}
	if err := s.check(cfg, time.Second, 0, true, true); err != nil {
		t.Errorf("back, and waiting for readers: %v", err)
	}
}

// silent is a JetStream that lets every look at a consumer wait for its deadline.
type silent struct{ jetstream.JetStream }

func (silent) Consumer(ctx context.Context, _, _ string) (jetstream.Consumer, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (silent) DeleteConsumer(ctx context.Context, _, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

// A server may be there, and its JetStream have lost its quorum: no reader can say that
// it took something, whatever the upload waits for.
func TestNobodyWaitsForAJetStreamThatDoesNotAnswer(t *testing.T) {
	for _, state := range []messages.StreamState{messages.StreamRunning, messages.StreamComplete} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel() // it waits for a call
			cfg := Config{Cluster: "main", StallTimeout: time.Hour, CutTimeout: time.Second, ReaderGrace: time.Hour, Linger: time.Millisecond}
			u := newUpload(&Store{cfg: cfg, js: silent{}, conn: natstest.Run(t).Connect(t)}, Spec{}, nil, nil)
			u.readers["db2"] = &attached{consumer: "a"}
			u.rec.State, u.rec.Paused, u.pins = state, true, 0
			minding, stop := context.WithCancel(t.Context())
			transferring, abort := context.WithCancelCause(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { u.mind(minding, abort) })
			lingers := make(chan struct{})
			go func() { u.linger(minding); close(lingers) }()
			enough := time.NewTimer(40 * time.Second)
			defer enough.Stop()
			ends := map[messages.StreamState]<-chan struct{}{messages.StreamRunning: transferring.Done(), messages.StreamComplete: lingers}
			select {
			case <-ends[state]:
			case <-enough.C:
				t.Error("it still waits")
			}
			stop()
			wg.Wait()
			<-lingers
		})
	}
}

// Any node makes again what a server lost, and what is known of it by looking at it
// since is of the new one.
func TestWhatAnotherNodeMadeAgainIsALossAndIsRaised(t *testing.T) {
	js := natstest.Run(t).JetStream(t, ConnectOptions()...)
	node := func(bucket int64) *Store {
		s, err := NewStore(js, Config{Cluster: "main", PartSize: 64 << 10, Window: 256 << 10, MaxBucket: bucket, Provision: true})
		if err == nil {
			err = s.Provision(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := node(64 << 20)
	for _, name := range []string{s.bucketStream(), s.ns.PartsStream()} {
		if err := js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	node(32 << 20)
	for _, name := range []string{s.bucketStream(), s.ns.PartsStream()} {
		if _, err := s.counts(t.Context(), name, ">"); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := s.recreate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.losses.Load(); got != 2 {
			t.Errorf("%d losses are counted, want one of each stream", got)
		}
	}
	h, err := js.Stream(t.Context(), s.bucketStream())
	if err != nil {
		t.Fatal(err)
	}
	if got := h.CachedInfo().Config.MaxBytes; got != 64<<20 {
		t.Errorf("the bucket takes %d bytes, want as many as the publisher is configured for", got)
	}
}

// An upload that waits for room seems to wait for its readers.
func TestAPurgeThatDoesNotSucceedIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Cluster: "main", StallTimeout: time.Minute, CutTimeout: time.Minute}
		u := newUpload(&Store{cfg: cfg, js: deaf{}, conn: &nats.Conn{}, streams: map[string]jetstream.Stream{}}, Spec{}, nil, nil)
		done := make(chan struct{})
		go func() { u.purgeAll(t.Context()); close(done) }()
		began := time.Now()
		for i := range 3 {
			u.victims <- retained{part: messages.Part{Index: i, Nuid: string(rune('a' + i))}}
		}
		close(u.victims)
		<-done
		if took := time.Since(began); took > 2*time.Minute || len(u.garbage) != 3 {
			t.Errorf("after %s %d parts are given up, want all 3 in about a minute", took, len(u.garbage))
		}
	})
}

// deaf is a JetStream in which no stream can be found in time.
type deaf struct{ jetstream.JetStream }

func (deaf) Stream(ctx context.Context, _ string) (jetstream.Stream, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// The calls that nobody answers are part of the time, and no reader's fault.
func TestTimeIsCountedWhileTheServerIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{Cluster: "main", StallTimeout: time.Minute, CutTimeout: time.Minute, ReaderGrace: time.Hour}
		u := newUpload(&Store{cfg: cfg, js: silent{}, conn: &nats.Conn{}}, Spec{}, nil, nil)
		u.readers["db2"] = &attached{consumer: "a"}
		u.readers["db3"] = &attached{consumer: "b"}
		minding, stop := context.WithCancel(t.Context())
		transferring, abort := context.WithCancelCause(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { u.mind(minding, abort) })
		began := time.Now()
		<-transferring.Done()
		if took := time.Since(began); took > 2*time.Minute {
			t.Errorf("it took %s to notice a minute: %v", took, context.Cause(transferring))
		}
		if r := u.readers["db2"]; r == nil || r.stalled > 0 {
			t.Errorf("the reader is blamed: %+v", r)
		}
		stop()
		wg.Wait()
	})
}

// What was found out about a reader's consumer is not held against its next one.
func TestReaderThatCameBackIsNotDetachedForItsPast(t *testing.T) {
	u := newUpload(&Store{}, Spec{}, nil, nil)
	u.readers["db2"] = &attached{consumer: "new"}
	u.detach(t.Context(), "db2", "old")
	if u.consumerOf("db2") != "new" {
		t.Error("the new consumer is gone with the old one")
	}
}

// A reader for which others wait most of the time is the one to go; those that
// keep step with each other stay, whatever the pace.
func TestHinderFindsTheSlowOne(t *testing.T) {
	u := &upload{
		store:   &Store{cfg: Config{ReaderGrace: time.Minute}},
		readers: map[messages.NodeName]*attached{"fast": {}, "slow": {}},
		ledger:  ledger{next: 8},
	}
	run := func(paused bool, fast, slow, seconds int) []messages.NodeName {
		u.rec.Paused, u.readers["fast"].consumed, u.readers["slow"].consumed = paused, fast, slow
		var found []messages.NodeName
		for range seconds {
			found = append(found, u.hinder(time.Second)...)
		}
		return found
	}
	if got := run(true, 8, 2, 50); got != nil {
		t.Errorf("%s before the grace is over", got)
	}
	if got := run(false, 6, 2, 40); got != nil { // the fast one has work: that counts too
		t.Errorf("%s although nobody waits", got)
	}
	for range 100 { // half of the time: it keeps step
		if got := append(run(true, 8, 7, 1), run(false, 7, 7, 1)...); got != nil {
			t.Fatalf("%s although it keeps step", got)
		}
	}
	if got := run(true, 8, 8, 100); got != nil {
		t.Errorf("%s although all wait for the source", got)
	}
	if got := run(true, 8, 2, 62); len(got) == 0 || got[0] != "slow" {
		t.Errorf("found %s, want slow", got)
	}
}
