package plan_test

import (
	"strings"
	"testing"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

type proof struct {
	w  plan.Want
	id *messages.Identity
	r  messages.Receiver
	p  *messages.PrimaryFacts
}

func proven() proof {
	f := broken()
	f.Primary.Streaming = true
	f.Primary.Slots[0].Active = true
	return proof{
		w: plan.Want{
			StopLSN: at(85), SystemID: 42, Timeline: messages.TimelineHistory{Current: 3},
			PrimaryHosts: []string{"db1.example", "db3.example"}, PrimaryPort: 5432, SlotName: slot,
		},
		id: f.Local, p: f.Primary,
		r: messages.Receiver{InRecovery: true, Streaming: true, SenderHost: "DB1.example", SenderPort: 5432, SlotName: slot, Timeline: 3, ReceiveLSN: at(90), ReplayLSN: at(85)},
	}
}

func TestProven(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*proof)
		// missing is "" where the proof is complete.
		missing string
	}{
		{"all is there", func(*proof) {}, ""},
		{"the manifest's timeline was left after the stop LSN", func(p *proof) {
			p.w.Timeline.Current, p.w.StopLSN = 2, at(80)
		}, ""},
		{"nothing is asked of host, port and slot", func(p *proof) {
			p.w.PrimaryHosts, p.w.PrimaryPort, p.w.SlotName = nil, 0, ""
			p.r.SenderHost, p.r.SenderPort, p.r.SlotName = "/run/postgresql", 6000, "other"
		}, ""},
		{"no answer", func(p *proof) { p.id = nil }, "does not answer"},
		{"another cluster", func(p *proof) { p.id.SystemID = 43 }, "system identifier"},
		{"a primary", func(p *proof) { p.id.Role = messages.RolePrimary }, "out of recovery"},
		{"promoted since", func(p *proof) { p.r.InRecovery = false }, "out of recovery"},
		{"no word from the primary", func(p *proof) { p.p = nil }, "not said"},
		{"the publisher is a standby", func(p *proof) { p.p.Identity.Role = messages.RoleStandby }, "no primary"},
		{"the publisher is of another cluster", func(p *proof) { p.p.Identity.SystemID = 43 }, "no primary"},
		{"the primary left the timeline before the stop LSN", func(p *proof) { p.w.Timeline.Current = 2 }, "left timeline 2"},
		{"no receiver", func(p *proof) { p.r.Streaming = false }, "no wal receiver"},
		{"another host", func(p *proof) { p.r.SenderHost = "db9" }, "db1.example or db3.example"},
		{"another port", func(p *proof) { p.r.SenderPort = 5433 }, "5433"},
		{"the old copy's slot", func(p *proof) { p.r.SlotName = "pgresync_db2_old" }, "pgresync_db2_old"},
		{"still on the older timeline", func(p *proof) { p.r.Timeline = 2 }, "streams timeline 2"},
		{"short of the stop LSN", func(p *proof) { p.r.ReplayLSN-- }, "replayed to"},
		{"unseen by the primary", func(p *proof) { p.p.Streaming = false }, "does not see"},
		{"seen in another slot only", func(p *proof) { p.p.Slots[0].Active = false }, "does not see"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := proven()
			tt.change(&p)
			ok, missing := plan.Proven(p.w, p.id, p.r, p.p)
			if ok != (tt.missing == "") || !strings.Contains(missing, tt.missing) || ok && missing != "" {
				t.Errorf("Proven = %v, %q, want %q", ok, missing, tt.missing)
			}
		})
	}
}
