package primary

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/messages"
)

// unusedSlots is a server, of any role, with slots that nobody uses.
type unusedSlots struct {
	mu            sync.Mutex
	down, refuses error
	slots         []messages.SlotUse
	dropped       []string
}

func (u *unusedSlots) SlotUses(context.Context) ([]messages.SlotUse, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.slots), u.down
}

func (u *unusedSlots) DropSlot(_ context.Context, name string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if name == "busy" {
		return messages.ErrBusy
	}
	if u.refuses != nil {
		return u.refuses
	}
	u.dropped = append(u.dropped, name)
	u.slots = slices.DeleteFunc(u.slots, func(s messages.SlotUse) bool { return s.Name == name })
	return nil
}

func (u *unusedSlots) gone() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.dropped)
}

// upkept runs the upkeep of slots, which knows of no NATS, for as long as f does.
func upkept(t *testing.T, u *unusedSlots, f func(log *bytes.Buffer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		k := NewSlotUpkeep(Config{SlotExpiry: time.Hour, SlotXminExpiry: 5 * time.Minute}, u, time.Now, zerolog.New(&log).Level(zerolog.InfoLevel))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
		pass(t, time.Second)
		f(&log)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("run: got %v, want the end of its context", err)
		}
	})
}

func TestAbandonedSlotsAreDropped(t *testing.T) {
	u := &unusedSlots{slots: []messages.SlotUse{
		{SlotState: messages.SlotState{Name: "unused"}},
		{SlotState: messages.SlotState{Name: "xmin"}, HoldsXmin: true},
		{SlotState: messages.SlotState{Name: "busy"}},
		{SlotState: messages.SlotState{Name: "used", Active: true}},
	}}
	upkept(t, u, func(*bytes.Buffer) {
		for _, step := range []struct {
			after time.Duration
			want  []string
		}{{4 * time.Minute, nil}, {2 * time.Minute, []string{"xmin"}}, {50 * time.Minute, []string{"xmin"}}, {5 * time.Minute, []string{"xmin", "unused"}}} {
			pass(t, step.after)
			if !slices.Equal(u.gone(), step.want) {
				t.Errorf("%s later: dropped %q, want %q", step.after, u.gone(), step.want)
			}
		}
	})
}

// A restart of PostgreSQL, or an outage, is no use of a slot.
func TestAnOutageDoesNotStartTheTimeOfAnUnusedSlotAnew(t *testing.T) {
	u := &unusedSlots{slots: []messages.SlotUse{{SlotState: messages.SlotState{Name: "unused"}}}}
	upkept(t, u, func(log *bytes.Buffer) {
		pass(t, 30*time.Minute)
		set(&u.mu, func() { u.down = messages.ErrUnavailable })
		pass(t, 10*time.Minute)
		if log.Len() > 0 {
			t.Errorf("a server that is down is complained of: %s", log)
		}
		set(&u.mu, func() { u.down = nil })
		pass(t, 21*time.Minute)
		if !slices.Equal(u.gone(), []string{"unused"}) {
			t.Errorf("dropped %q after an hour", u.gone())
		}
	})
}

func TestASlotThatIsMadeAgainHasItsOwnTime(t *testing.T) {
	again := messages.SlotUse{SlotState: messages.SlotState{Name: "again"}}
	u := &unusedSlots{slots: []messages.SlotUse{again}}
	upkept(t, u, func(*bytes.Buffer) {
		pass(t, time.Hour)
		set(&u.mu, func() { u.slots = append(u.slots, again) })
		pass(t, 30*time.Minute)
		if len(u.gone()) != 1 {
			t.Errorf("dropped %d times within half an hour", len(u.gone()))
		}
	})
}

func TestASlotThatCannotBeDroppedIsComplainedOfOnce(t *testing.T) {
	u := &unusedSlots{refuses: messages.ErrPermission, slots: []messages.SlotUse{{SlotState: messages.SlotState{Name: "unused"}}}}
	upkept(t, u, func(log *bytes.Buffer) {
		pass(t, 3*time.Hour)
		if n := strings.Count(log.String(), messages.ErrPermission.Error()); n != 1 {
			t.Errorf("complained of %d times, want once: %s", n, log)
		}
	})
}
