package bus_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/messages"
)

func someEvent(n messages.NodeName, text string) messages.Event {
	now := time.Now()
	return messages.Event{V: 1, ID: messages.NewMessageID(now), Type: messages.EventVerdict, Cluster: "main", Node: n, At: now.UTC(), Text: text}
}

func TestHistoryEndsWithTheLastEventOrFollows(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db2")
	publish := func(n messages.NodeName, text string) {
		if err := b.Publish(t.Context(), someEvent(n, text)); err != nil {
			t.Fatal(err)
		}
	}
	collect := func(texts *[]string) func(messages.Event) error {
		return func(e messages.Event) error { *texts = append(*texts, e.Text); return nil }
	}
	var none []string
	if err := b.History(t.Context(), time.Time{}, false, collect(&none)); err != nil || len(none) != 0 {
		t.Fatalf("an empty history: %v, %v", none, err)
	}
	begin := time.Now().Add(-time.Minute)
	for _, text := range []string{"1", "2", "3"} {
		publish("db2", text)
	}
	var got []string
	if err := b.History(t.Context(), begin, false, collect(&got)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1", "2", "3"}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if err := b.History(t.Context(), time.Now().Add(time.Hour), false, collect(&none)); err != nil || len(none) != 0 {
		t.Errorf("nothing since: %v, %v", none, err)
	}
	stop := errors.New("enough")
	if err := b.History(t.Context(), begin, false, func(messages.Event) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want the handler's error", err)
	}
	arrived := make(chan string, 16)
	run(t, func(ctx context.Context) error {
		return b.History(ctx, begin, true, func(e messages.Event) error { arrived <- e.Text; return nil })
	})
	for range 3 {
		receive(t, arrived, "the stored events")
	}
	publish("db3", "4")
	if text := receive(t, arrived, "the event that came later"); text != "4" {
		t.Errorf("got %q", text)
	}
	seen, err := b.LastSeen(t.Context())
	if err != nil || len(seen) != 2 || time.Since(seen["db3"]) > time.Minute || !seen["db3"].After(seen["db2"]) {
		t.Errorf("seen %v, %v", seen, err)
	}
}

// Whoever takes his time with an event is behind, and loses nothing.
func TestWhoFollowsSlowlyIsNoFault(t *testing.T) {
	s := natstest.Run(t)
	var f faults
	b := node(t, s, "db2", reportTo(&f))
	read, next := make(chan string, 16), make(chan struct{})
	run(t, func(ctx context.Context) error {
		return b.History(ctx, time.Now().Add(-time.Minute), true, func(e messages.Event) error {
			read <- e.Text
			select {
			case <-next:
			case <-ctx.Done():
			}
			return nil
		})
	})
	var want []string
	for i := range 10 {
		want = append(want, strconv.Itoa(i))
		if err := b.Publish(t.Context(), someEvent("db2", want[i])); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for range want {
		got = append(got, receive(t, read, "an event"))
		next <- struct{}{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if n := f.count(messages.ErrUnavailable) + f.count(nats.ErrSlowConsumer); n != 0 {
		t.Errorf("%d faults were reported, want none", n)
	}
}
