package bus_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/messages"
)

func event(text string) messages.Event {
	now := time.Now()
	return messages.Event{
		V: 1, ID: messages.NewMessageID(now), Type: messages.EventRejoined, Cluster: "main", Node: "db1",
		At: now.UTC(), Text: text,
	}
}

func publish(t *testing.T, b *bus.Bus, e messages.Event) {
	t.Helper()
	if err := b.Publish(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

// follow runs an Events loop that passes texts on.
func follow(t *testing.T, b *bus.Bus) (texts <-chan string, stop func()) {
	t.Helper()
	c := make(chan string, 64)
	return c, run(t, func(ctx context.Context) error {
		return b.Events(ctx, names.Events(), "watcher", func(_ context.Context, e messages.Event) error {
			c <- e.Text
			return nil
		})
	})
}

func streamMsgs(t *testing.T, s *natstest.Server) uint64 {
	t.Helper()
	stream, err := s.JetStream(t).Stream(t.Context(), names.Stream())
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.Msgs
}

// idle returns when the durable has nothing left to deliver or to confirm.
func idle(t *testing.T, s *natstest.Server, durable string) {
	t.Helper()
	js := s.JetStream(t)
	natstest.Eventually(t, patience, "consumer "+durable+" to be idle", func() error {
		c, err := js.Consumer(t.Context(), names.Stream(), durable)
		if err != nil {
			return err
		}
		if i := c.CachedInfo(); i.NumPending != 0 || i.NumAckPending != 0 {
			return errors.New("it is not")
		}
		return nil
	})
}

func TestEventPublishedTwiceIsStoredOnce(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db1")
	e := event("once")
	publish(t, b, e)
	s.Restart()
	publish(t, b, e) // also over a restart
	if got := streamMsgs(t, s); got != 1 {
		t.Errorf("%d messages stored, want 1", got)
	}
}

func TestEventIsPublishedOverARestart(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db1")
	s.Stop()
	got := make(chan error, 1)
	go func() { got <- b.Publish(t.Context(), event("late")) }()
	s.Start()
	if err := receive(t, got, "Publish"); err != nil {
		t.Fatal(err)
	}
	if got := streamMsgs(t, s); got != 1 {
		t.Errorf("%d messages stored, want 1", got)
	}
}

func TestPublishRefuses(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db1")
	foreign, invalid := event(""), event("")
	foreign.Cluster, invalid.Type = "other", "no good"
	wantErr(t, b.Publish(t.Context(), foreign), messages.ErrBadDocument)
	wantErr(t, b.Publish(t.Context(), invalid), messages.ErrBadDocument)
}

func TestPublishSaysUnavailableWhenItsContextEnds(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db1")
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	wantErr(t, b.Publish(ctx, event("x")), messages.ErrUnavailable)
}

func TestEventsResumeWhereTheDurableStopped(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db1")
	publish(t, b, event("before"))
	publish(t, b, event("last before"))
	texts, stop := follow(t, b)
	if got := receive(t, texts, "an event"); got != "last before" {
		t.Fatalf("a new durable began with %q, want the last event of the subject", got)
	}
	idle(t, s, "watcher")
	stop()
	publish(t, b, event("away 1"))
	publish(t, b, event("away 2"))
	texts, stop = follow(t, b)
	defer stop()
	for _, want := range []string{"away 1", "away 2"} {
		// The first may have gone to the request of the one that stopped, and comes again.
		if got := receiveLong(t, texts, "an event"); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func TestEventsGoOnAfterARestart(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db1")
	texts, stop := follow(t, b)
	defer stop()
	publish(t, b, event("1"))
	receive(t, texts, "event 1")
	s.Restart()
	publish(t, b, event("2"))
	if got := receive(t, texts, "event 2"); got != "2" {
		t.Errorf("got %q, want 2", got)
	}
}

func TestEventWhoseHandlerFailsComesAgainAndNonePassesIt(t *testing.T) {
	var seen faults
	s := natstest.Run(t)
	b := node(t, s, "db1", reportTo(&seen))
	order := make(chan string, 8)
	failed := false
	errBoom := errors.New("boom")
	stop := run(t, func(ctx context.Context) error {
		return b.Events(ctx, names.Events(), "watcher", func(_ context.Context, e messages.Event) error {
			order <- e.Text
			if !failed {
				failed = true
				return errBoom
			}
			return nil
		})
	})
	defer stop()
	idle(t, s, "watcher")
	publish(t, b, event("1"))
	publish(t, b, event("2"))
	for i, want := range []string{"1", "1", "2"} {
		if got := receive(t, order, "a delivery"); got != want {
			t.Fatalf("delivery %d was %q, want %q", i, got, want)
		}
	}
	if seen.count(errBoom) != 1 {
		t.Errorf("the handler's error was reported %d times, want once", seen.count(errBoom))
	}
}

func TestEventsThatAreNotWhatTheySayAreDroppedAndReported(t *testing.T) {
	for what, body := range map[string]string{
		"not JSON":               "hello",
		"empty":                  "",
		"newer version":          `{"v":2}`,
		"another node's subject": `{"v":1,"id":"000000000000000000000000","type":"rejoined","cluster":"main","node":"db2","at":"2026-01-01T00:00:00Z","text":""}`,
		"another cluster":        `{"v":1,"id":"000000000000000000000000","type":"rejoined","cluster":"other","node":"db1","at":"2026-01-01T00:00:00Z","text":""}`,
	} {
		t.Run(what, func(t *testing.T) {
			var seen faults
			s := natstest.Run(t)
			b := node(t, s, "db1", reportTo(&seen))
			texts, stop := follow(t, b)
			defer stop()
			idle(t, s, "watcher")
			subject := names.Event(messages.EventRejoined, "db1")
			if _, err := s.JetStream(t).Publish(t.Context(), subject, []byte(body)); err != nil {
				t.Fatal(err)
			}
			publish(t, b, event("good"))
			if got := receive(t, texts, "the good event"); got != "good" {
				t.Errorf("got %q", got)
			}
			if seen.count(messages.ErrBadDocument) != 1 {
				t.Errorf("reported %d times, want once", seen.count(messages.ErrBadDocument))
			}
			idle(t, s, "watcher")
		})
	}
}

func TestEventsRefusesForeignSubjectsAndBadNames(t *testing.T) {
	b := node(t, natstest.Run(t), "db1")
	handle := func(context.Context, messages.Event) error { return nil }
	if err := b.Events(t.Context(), "pgresync.other.event.>", "w", handle); err == nil {
		t.Error("a filter of another cluster was taken")
	}
	if err := b.Events(t.Context(), names.Events(), "a.b", handle); err == nil {
		t.Error("a durable with a dot was taken")
	}
}

func TestEventsReportAMissingStreamAndGoOnWhenItAppears(t *testing.T) {
	var seen faults
	s := natstest.Run(t)
	cfg := config(s.URL(), "db1")
	cfg.OnAsyncError, cfg.Provision = seen.add, false
	b := join(t, cfg)
	texts, stop := follow(t, b)
	defer stop()
	seen.wait(t, messages.ErrNotFound)
	publish(t, node(t, s, "db2"), event("1"))
	if got := receive(t, texts, "the event"); got != "1" {
		t.Errorf("got %q", got)
	}
}

func TestEventsWidenADurableWhoseFilterIsTooNarrow(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db1")
	_, err := s.JetStream(t).CreateConsumer(t.Context(), names.Stream(), jetstream.ConsumerConfig{
		Durable: "watcher", AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: names.EventsOf(messages.EventFailed),
	})
	if err != nil {
		t.Fatal(err)
	}
	texts, stop := follow(t, b)
	defer stop()
	publish(t, b, event("1"))
	if got := receive(t, texts, "the event"); got != "1" {
		t.Errorf("got %q", got)
	}
}
