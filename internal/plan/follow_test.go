package plan_test

import (
	"testing"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

func TestDiagnoseFollowsTheLease(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*plan.Facts)
		want   plan.Cure
	}{
		{"no receiver, and the connection names the old primary", func(*plan.Facts) {}, plan.CureFollow},
		{"it streams from the old primary, and could from the new one", func(f *plan.Facts) {
			stands(f, 2, at(70))
			f.Receiver.Streaming = true
		}, plan.CureFollow},
		{"it streams from the old primary beyond the fork", func(f *plan.Facts) {
			stands(f, 2, at(85))
			f.Receiver.Streaming = true
		}, plan.CureNone},
		{"the connection is right", func(f *plan.Facts) { f.Misdirected = false }, plan.CureNone},
		{"the slot is missing: that comes first", func(f *plan.Facts) { f.Primary.Slots = nil }, plan.CureReserveSlot},
		{"no publisher answers", func(f *plan.Facts) { f.Primary = nil }, plan.CureNone},
		{"the publisher is no primary", func(f *plan.Facts) { f.Primary.Identity.Role = messages.RoleStandby }, plan.CureNone},
		{"this node is out of recovery", func(f *plan.Facts) { promotes(f, 2, at(70)) }, plan.CureNone},
		{"PostgreSQL does not answer", stops, plan.CureNone},
		{"the WAL is gone: a resync points it right", func(f *plan.Facts) {
			f.Primary.OldestWAL, f.Primary.Slots = 95*seg, nil
		}, plan.CureNone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := broken()
			f.Misdirected = true
			tt.change(&f)
			if d := plan.Diagnose(f, plan.Policy{}, now); d.Cure != tt.want {
				t.Errorf("cure %q (%s, %s: %s), want %q", d.Cure, d.Verdict, d.Reason, d.Evidence, tt.want)
			}
		})
	}
}
