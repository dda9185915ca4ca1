package plan_test

import (
	"testing"

	"github.com/pgresync/pgresync/internal/plan"
)

// The primary left timeline 2 at segment 80.
func TestStrayed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*plan.Facts)
		want   bool
	}{
		{"behind", func(*plan.Facts) {}, false},
		{"streams", func(f *plan.Facts) { f.Receiver.Streaming = true }, false},
		{"streams, by the primary's word", func(f *plan.Facts) {
			stands(f, 2, at(90))
			f.Receiver, f.Primary.Streaming = nil, true
		}, false},
		{"short of the fork", func(f *plan.Facts) { stands(f, 2, at(79)) }, false},
		{"past the fork", func(f *plan.Facts) { stands(f, 2, at(90)) }, true},
		{"past the fork, and moving", func(f *plan.Facts) { stands(f, 2, at(90)); f.Position = at(88) }, true},
		{"past the fork, and streams from the deposed primary", func(f *plan.Facts) { stands(f, 2, at(90)); f.Receiver.Streaming = true }, true},
		{"on a newer timeline", func(f *plan.Facts) { stands(f, 4, at(90)) }, true},
		{"streams on a newer timeline", func(f *plan.Facts) { stands(f, 4, at(90)); f.Receiver.Streaming = true }, true},
		{"streams on a newer timeline, by the primary's word", func(f *plan.Facts) {
			stands(f, 4, at(90))
			f.Receiver, f.Primary.Streaming = nil, true
		}, true},
		{"past the end of the primary's log", func(f *plan.Facts) { stands(f, 3, at(101)) }, true},
		{"was ahead", func(f *plan.Facts) { f.Ahead = at(89) }, true},
		{"another log", func(f *plan.Facts) { f.Apart = "other bytes"; f.Receiver.Streaming = true }, true},
		{"stopped short of the fork", func(f *plan.Facts) { stands(f, 2, at(79)); stops(f) }, false},
		{"stopped past the fork", func(f *plan.Facts) { stands(f, 2, at(90)); stops(f) }, true},
		{"stopped, its checkpoint is short of the fork, and its recovery went on past it", func(f *plan.Facts) {
			stands(f, 2, at(79))
			f.Control.MinRecoveryLSN = at(85)
			stops(f)
		}, true},
		{"stopped likewise, and its recovery followed", func(f *plan.Facts) {
			stands(f, 2, at(79))
			f.Control.MinRecoveryLSN, f.Control.MinRecoveryTimeline = at(85), 3
			stops(f)
		}, false},
		{"no data", func(f *plan.Facts) { stops(f); f.Control = nil }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := broken()
			tt.change(&f)
			if why := f.Strayed(); (why != "") != tt.want {
				t.Errorf("got %q, want evidence: %v", why, tt.want)
			}
		})
	}
}
