package plan_test

import (
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

func TestAbandonedSlots(t *testing.T) {
	p := plan.SlotPolicy{Idle: 24 * time.Hour, Xmin: time.Hour}
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, tt := range []struct {
		name string
		slot messages.SlotUse
		idle time.Time // zero: seen for the first time
		want bool
	}{
		{"in use", messages.SlotUse{SlotState: messages.SlotState{Active: true}}, ago(48 * time.Hour), false},
		{"seen unused for the first time", messages.SlotUse{}, time.Time{}, false},
		{"unused for less than a day", messages.SlotUse{}, ago(23 * time.Hour), false},
		{"unused for a day", messages.SlotUse{}, ago(24 * time.Hour), true},
		{"unused for a day, as the server remembers", messages.SlotUse{InactiveSince: ago(25 * time.Hour)}, time.Time{}, true},
		{"used since, though we did not see it", messages.SlotUse{SlotState: messages.SlotState{RestartLSN: 200}, InactiveSince: ago(time.Minute)}, ago(25 * time.Hour), false},
		{"used since, and the server does not say when", messages.SlotUse{SlotState: messages.SlotState{RestartLSN: 200}}, ago(25 * time.Hour), false},
		{"used since, for the last time long ago", messages.SlotUse{SlotState: messages.SlotState{RestartLSN: 200}, InactiveSince: ago(24 * time.Hour)}, ago(25 * time.Hour), true},
		{"not used since, and the server was started again", messages.SlotUse{SlotState: messages.SlotState{RestartLSN: 100}, InactiveSince: ago(time.Minute)}, ago(25 * time.Hour), true},
		{"its WAL was taken from it", messages.SlotUse{SlotState: messages.SlotState{WALStatus: messages.WALLost}}, ago(25 * time.Hour), true},
		{"holds back vacuum for an hour", messages.SlotUse{HoldsXmin: true}, ago(time.Hour), true},
		{"holds back vacuum for less", messages.SlotUse{HoldsXmin: true}, ago(59 * time.Minute), false},
		{"the clock was set back", messages.SlotUse{}, now.Add(time.Hour), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.slot.Name = slot
			idle := map[string]plan.IdleSlot{}
			if !tt.idle.IsZero() {
				idle[slot] = plan.IdleSlot{Since: tt.idle, RestartLSN: 100}
			}
			drop, seen := plan.AbandonedSlots([]messages.SlotUse{tt.slot}, idle, p, now)
			if got := len(drop) == 1; got != tt.want {
				t.Errorf("dropped: got %v, want %v", got, tt.want)
			}
			if _, ok := seen[slot]; ok == tt.slot.Active {
				t.Errorf("remembered as unused: got %v", ok)
			}
		})
	}
}

func TestAbandonedSlotsForgetsWhatIsUsedAgain(t *testing.T) {
	p := plan.SlotPolicy{Idle: time.Hour, Xmin: time.Hour}
	s := messages.SlotUse{SlotState: messages.SlotState{Name: slot}}
	_, seen := plan.AbandonedSlots([]messages.SlotUse{s}, nil, p, now)
	s.Active = true
	_, seen = plan.AbandonedSlots([]messages.SlotUse{s}, seen, p, now.Add(50*time.Minute))
	s.Active = false
	drop, _ := plan.AbandonedSlots([]messages.SlotUse{s}, seen, p, now.Add(70*time.Minute))
	if len(drop) > 0 {
		t.Error("dropped though it was used 20 minutes ago")
	}
}
