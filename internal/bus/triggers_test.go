package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/messages"
)

type command struct {
	target messages.TriggerTarget
	body   messages.Trigger
}

var standbySubjects = []string{names.TriggerResync("db2"), names.TriggerResync(messages.AllNodes)}

// obey runs a Triggers loop that passes commands on.
func obey(t *testing.T, b *bus.Bus, subjects []string, maxAge time.Duration) (commands <-chan command, stop func()) {
	t.Helper()
	c := make(chan command, 64)
	return c, run(t, func(ctx context.Context) error {
		return b.Triggers(ctx, "db2-triggers", subjects, maxAge,
			func(_ context.Context, target messages.TriggerTarget, body messages.Trigger, _ time.Time) error {
				c <- command{target, body}
				return nil
			})
	})
}

// pub is `nats pub <subject> <body>`: core NATS, no headers.
func pub(t *testing.T, s *natstest.Server, subject, body string) {
	t.Helper()
	nc := s.Connect(t)
	before := streamMsgs(t, s)
	if err := nc.Publish(subject, []byte(body)); err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, patience, "the trigger to be stored", func() error {
		if streamMsgs(t, s) == before {
			return errors.New("not yet")
		}
		return nil
	})
}

func TestTriggerByHandWithAnEmptyBody(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db2")
	commands, stop := obey(t, b, standbySubjects, time.Hour)
	defer stop()
	pub(t, s, names.TriggerResync("db2"), "")
	if got, want := receive(t, commands, "the command"), (command{messages.TriggerTarget{Node: "db2"}, messages.Trigger{V: 1}}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	pub(t, s, names.TriggerResync("all"), `{"by":"ann","full":true}`)
	if got, want := receive(t, commands, "the command"), (command{messages.TriggerTarget{All: true}, messages.Trigger{V: 1, By: "ann", Full: true}}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	idle(t, s, "db2-triggers")
}

func TestTriggerForOthersIsNotDelivered(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db2")
	commands, stop := obey(t, b, standbySubjects, time.Hour)
	defer stop()
	pub(t, s, names.TriggerResync("db1"), "")
	pub(t, s, names.TriggerSnapshot(), "")
	pub(t, s, names.TriggerResync("db2"), "")
	if got := receive(t, commands, "the command"); got.target.Node != "db2" {
		t.Errorf("got %+v", got)
	}
}

func TestTriggerSentBeforeTheVeryFirstStartIsObeyed(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db2")
	pub(t, s, names.TriggerResync("db2"), "")
	commands, stop := obey(t, b, standbySubjects, time.Hour)
	defer stop()
	receive(t, commands, "the command")
}

func TestTriggerSentWhileAwayIsObeyedOnce(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db2")
	_, stop := obey(t, b, standbySubjects, time.Hour)
	idle(t, s, "db2-triggers")
	stop()
	pub(t, s, names.TriggerResync("db2"), `{"by":"1"}`)
	commands, stop := obey(t, b, standbySubjects, time.Hour)
	if got := receive(t, commands, "the command"); got.body.By != "1" {
		t.Errorf("got %+v", got)
	}
	idle(t, s, "db2-triggers")
	stop()

	commands, stop = obey(t, b, standbySubjects, time.Hour)
	defer stop()
	pub(t, s, names.TriggerResync("db2"), `{"by":"2"}`)
	if got := receive(t, commands, "the next command"); got.body.By != "2" {
		t.Errorf("after a restart %+v came again", got)
	}
}

func TestStaleTriggerIsDroppedAndReported(t *testing.T) {
	var seen faults
	s := natstest.Run(t)
	b := node(t, s, "db2", reportTo(&seen))
	_, stop := obey(t, b, standbySubjects, time.Hour)
	idle(t, s, "db2-triggers")
	stop()
	sent := time.Now()
	pub(t, s, names.TriggerResync("db2"), "")
	const limit = 50 * time.Millisecond
	natstest.Eventually(t, patience, "the trigger to age", func() error {
		if time.Since(sent) < 4*limit {
			return errors.New("fresh")
		}
		return nil
	})
	commands, stop := obey(t, b, standbySubjects, limit)
	defer stop()
	seen.wait(t, bus.ErrStale)
	idle(t, s, "db2-triggers")
	if len(commands) != 0 {
		t.Error("the stale trigger was obeyed")
	}
}

func TestTriggersThatAreNotObeyed(t *testing.T) {
	for what, tc := range map[string]struct {
		subject, body string
		reason        error
	}{
		"past its own expiry":  {names.TriggerResync("db2"), `{"expires_at":"2020-01-01T00:00:00Z"}`, bus.ErrStale},
		"not JSON":             {names.TriggerResync("db2"), "now!", messages.ErrBadDocument},
		"an unknown field":     {names.TriggerResync("db2"), `{"force":true}`, messages.ErrBadDocument},
		"an unknown subject":   {"pgresync.main.trigger.reboot", "", messages.ErrBadDocument},
		"no legal node's name": {names.TriggerResync("DB2"), "", messages.ErrBadDocument},
	} {
		t.Run(what, func(t *testing.T) {
			var seen faults
			s := natstest.Run(t)
			b := node(t, s, "db2", reportTo(&seen))
			commands, stop := obey(t, b, []string{names.Triggers()}, time.Hour)
			defer stop()
			pub(t, s, tc.subject, tc.body)
			pub(t, s, names.TriggerResync("db2"), `{"by":"good"}`)
			if got := receive(t, commands, "the good command"); got.body.By != "good" {
				t.Errorf("obeyed %+v", got)
			}
			if seen.count(tc.reason) != 1 {
				t.Errorf("reported %d times as %v, want once", seen.count(tc.reason), tc.reason)
			}
			idle(t, s, "db2-triggers")
		})
	}
}

func TestTriggerComesAgainUntilItIsJournaled(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db2")
	times := make(chan time.Time, 8)
	n := 0
	stop := run(t, func(ctx context.Context) error {
		return b.Triggers(ctx, "db2-triggers", standbySubjects, time.Hour,
			func(_ context.Context, _ messages.TriggerTarget, _ messages.Trigger, at time.Time) error {
				times <- at
				if n++; n == 1 {
					return errors.New("the journal cannot be written")
				}
				return nil
			})
	})
	defer stop()
	pub(t, s, names.TriggerResync("db2"), "")
	first, second := receive(t, times, "the command"), receive(t, times, "the command again")
	if !first.Equal(second) {
		t.Errorf("one command had the times %s and %s", first, second)
	}
	idle(t, s, "db2-triggers")
}

func TestTriggersGoOnAfterARestart(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db2")
	commands, stop := obey(t, b, standbySubjects, time.Hour)
	defer stop()
	pub(t, s, names.TriggerResync("db2"), `{"by":"1"}`)
	receive(t, commands, "the first command")
	s.Restart()
	pub(t, s, names.TriggerResync("db2"), `{"by":"2"}`)
	if got := receive(t, commands, "the second command"); got.body.By != "2" {
		t.Errorf("got %+v", got)
	}
}

// The server goes away while the handler works, so that the acknowledgement
// cannot arrive and the message is delivered again.
func TestTriggerIsObeyedOnceWhenTheServerRestartsBeforeItsAcknowledgement(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db2")
	entered, leave, all := make(chan struct{}), make(chan struct{}), make(chan string, 8)
	stop := run(t, func(ctx context.Context) error {
		return b.Triggers(ctx, "db2-triggers", standbySubjects, time.Hour,
			func(_ context.Context, _ messages.TriggerTarget, body messages.Trigger, _ time.Time) error {
				if body.By == "1" && len(all) == 0 {
					close(entered)
					<-leave
				}
				all <- body.By
				return nil
			})
	})
	defer stop()
	pub(t, s, names.TriggerResync("db2"), `{"by":"1"}`)
	receive(t, entered, "the handler")
	s.Stop()
	close(leave)
	s.Start()
	pub(t, s, names.TriggerResync("db2"), `{"by":"2"}`)
	got := fmt.Sprint(receive(t, all, "command 1"), receiveLong(t, all, "command 2"))
	if got != "1 2" && got != "12" {
		t.Errorf("obeyed %q, want 1 and 2 once each", got)
	}
	idle(t, s, "db2-triggers")
}

// receiveLong waits for a redelivery after the acknowledgement's time limit.
func receiveLong(t *testing.T, c <-chan string, what string) string {
	t.Helper()
	timer := time.NewTimer(3 * patience)
	defer timer.Stop()
	select {
	case v := <-c:
		return v
	case <-timer.C:
		t.Fatalf("waited %s for %s", 3*patience, what)
	}
	return ""
}

func TestTriggersSurviveTheDeletionOfTheirConsumer(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db2")
	commands, stop := obey(t, b, standbySubjects, time.Hour)
	defer stop()
	pub(t, s, names.TriggerResync("db2"), `{"by":"1"}`)
	receive(t, commands, "the first command")
	idle(t, s, "db2-triggers")
	if err := s.JetStream(t).DeleteConsumer(t.Context(), names.Stream(), "db2-triggers"); err != nil {
		t.Fatal(err)
	}
	pub(t, s, names.TriggerResync("db2"), `{"by":"2"}`)
	if got := receive(t, commands, "the second command"); got.body.By != "2" {
		t.Errorf("the new consumer began with %+v, which was obeyed before", got)
	}
}

func TestTriggersSurviveANewStream(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db2")
	commands, stop := obey(t, b, standbySubjects, time.Hour)
	defer stop()
	pub(t, s, names.TriggerResync("db2"), `{"by":"1"}`)
	receive(t, commands, "the first command")
	if err := s.JetStream(t).DeleteStream(t.Context(), names.Stream()); err != nil {
		t.Fatal(err)
	}
	if err := b.Provision(t.Context()); err != nil {
		t.Fatal(err)
	}
	pub(t, s, names.TriggerResync("db2"), `{"by":"2"}`) // sequence 1 again
	if got := receive(t, commands, "the second command"); got.body.By != "2" {
		t.Errorf("got %+v", got)
	}
}

func TestTriggersRefuseWrongArguments(t *testing.T) {
	b := node(t, natstest.Run(t), "db2")
	handle := func(context.Context, messages.TriggerTarget, messages.Trigger, time.Time) error { return nil }
	for what, call := range map[string]func() error{
		"no subjects":       func() error { return b.Triggers(t.Context(), "d", nil, time.Hour, handle) },
		"no age limit":      func() error { return b.Triggers(t.Context(), "d", standbySubjects, 0, handle) },
		"a foreign subject": func() error { return b.Triggers(t.Context(), "d", []string{names.Events()}, time.Hour, handle) },
	} {
		if call() == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// A pull of one message at a time stalled for ten seconds about once in sixty
// starts; see pullBatch.
func TestTriggersAreObeyedAtOnceAfterAStart(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db2")
	js := s.JetStream(t)
	for i := range 60 {
		stream, err := js.Stream(t.Context(), names.Stream())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		durable := fmt.Sprintf("d%d", i)
		commands := make(chan struct{}, 8)
		stop := run(t, func(ctx context.Context) error {
			return b.Triggers(ctx, durable, []string{names.Triggers()}, time.Hour,
				func(context.Context, messages.TriggerTarget, messages.Trigger, time.Time) error {
					commands <- struct{}{}
					return nil
				})
		})
		begin := time.Now()
		for _, subject := range []string{names.Triggers()[:len(names.Triggers())-1] + "reboot", names.TriggerSnapshot()} {
			if _, err := js.Publish(t.Context(), subject, nil); err != nil {
				t.Fatal(err)
			}
		}
		receive(t, commands, "the command")
		if d := time.Since(begin); d > 8*time.Second {
			t.Fatalf("start %d: the command took %s", i, d)
		}
		stop()
	}
}
