package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/nats-io/nats.go"

	"github.com/pgresync/pgresync/e2e/world"
	"github.com/pgresync/pgresync/messages"
)

// follower takes the events in as they come, tells them, and keeps them.
type follower struct {
	say *narrator
	nc  *nats.Conn

	mu     sync.Mutex
	events []messages.Event
	told   map[string]uint64 // percent of a transfer told last, by node and stream
}

// follow connects to the broker, which comes up with the primary sidecar.
func follow(ctx context.Context, say *narrator) (*follower, error) {
	f := &follower{say: say, told: map[string]uint64{}}
	err := world.Until(ctx, "the broker", patience, func(context.Context) (bool, string) {
		var err error
		f.nc, err = nats.Connect(world.NATSURL, nats.MaxReconnects(-1))
		return err == nil, fmt.Sprint(err)
	})
	if err != nil {
		return nil, err
	}
	_, err = f.nc.Subscribe(messages.Subjects{Cluster: world.Cluster}.Events(), f.take)
	if err != nil {
		f.nc.Close()
		return nil, fmt.Errorf("subscribe to events: %w", err)
	}
	return f, f.nc.Flush()
}

func (f *follower) close() { f.nc.Close() }

func (f *follower) take(m *nats.Msg) {
	var e messages.Event
	if err := messages.Decode(m.Data, &e); err != nil {
		f.say.on("", "an event that cannot be read: %v", err)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	// A publisher that saw no acknowledgement publishes again.
	if slices.ContainsFunc(f.events, func(old messages.Event) bool { return old.ID == e.ID }) {
		return
	}
	f.events = append(f.events, e)
	if e.Transfer != nil && !f.worthTelling(string(e.Node), *e.Transfer) {
		return
	}
	if text := tell(e); text != "" {
		f.say.on(string(e.Node), "%s", text)
	}
}

// worthTelling thins the progress out. The caller holds mu.
func (f *follower) worthTelling(node string, t messages.TransferReport) bool {
	const step = 20 // percent
	key := node + " " + string(t.Stream)
	last, begun := f.told[key]
	now := percent(t)
	if begun && now < last+step {
		return false
	}
	f.told[key] = now
	return true
}

func percent(t messages.TransferReport) uint64 { return min(100, t.Bytes*100/max(t.Estimate, 1)) }

// mark is a place among the events; waiting from there on sees nothing older.
func (f *follower) mark() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.events)
}

// wait waits for an event after mark.
func (f *follower) wait(ctx context.Context, what string, mark int, match func(messages.Event) bool) (messages.Event, error) {
	var found messages.Event
	err := world.Until(ctx, what, 5*time.Minute, func(context.Context) (bool, string) {
		f.mu.Lock()
		defer f.mu.Unlock()
		i := slices.IndexFunc(f.events[mark:], match)
		if i < 0 {
			return false, fmt.Sprintf("%d events, none of them this", len(f.events)-mark)
		}
		found = f.events[mark+i]
		return true, ""
	})
	return found, err
}

// rejoined waits until the node streams again, and returns the report.
func (f *follower) rejoined(ctx context.Context, node string, mark int) (*messages.ResyncReport, error) {
	e, err := f.wait(ctx, node+" to stream again", mark, func(e messages.Event) bool {
		return e.Type == messages.EventRejoined && string(e.Node) == node && e.Resync != nil
	})
	return e.Resync, err
}

// phases are what the phases mean to somebody who looks on.
var phases = map[messages.Phase]string{
	messages.PhasePlanning:   "asks the primary what has changed, and for a snapshot",
	messages.PhaseReceiving:  "receives beside the live data; reads go on",
	messages.PhaseClearing:   "stops PostgreSQL and sets the live copy aside: there is no room beside it",
	messages.PhaseDiscarding: "destroys the live copy for room",
	messages.PhaseStaging:    "makes a standby of a clone of what arrived; reads go on",
	messages.PhaseStopping:   "stops PostgreSQL on the old copy",
	messages.PhaseSwitching:  "renames the datasets: old aside, new in place",
	messages.PhaseStarting:   "starts PostgreSQL on the new copy",
	messages.PhaseProving:    "answers again; proves that it streams",
	messages.PhaseReverting:  "goes back to the old copy",
}

// tell is an event for people, "" for one that says nothing new.
func tell(e messages.Event) string {
	switch e.Type {
	case messages.EventSnapshotReady:
		var sum uint64
		for _, d := range e.Snapshot.Travelling() {
			sum += d.Referenced
		}
		return fmt.Sprintf("snapshot %s is ready: %s in %d datasets", e.Snapshot.ID, humanize.IBytes(sum), len(e.Snapshot.Travelling()))
	case messages.EventPhase:
		if e.Resync == nil {
			return ""
		}
		return phases[e.Resync.Phase]
	case messages.EventTransfer:
		if t := e.Transfer; t != nil {
			return progress(*t)
		}
	case messages.EventVerdict:
		return fmt.Sprintf("verdict %s: %s", e.Verdict, e.Reason)
	case messages.EventRejoined:
		if e.Resync != nil {
			return "STREAMS AGAIN: " + summary(*e.Resync)
		}
	case messages.EventFailed, messages.EventNeedsOperator, messages.EventRoleChanged, messages.EventPaused, messages.EventResumed, messages.EventRefused:
		return e.Text
	}
	return ""
}

func progress(t messages.TransferReport) string {
	name := string(t.Dataset)
	if name == "" {
		name = "data"
	}
	share := ""
	if t.Estimate > 0 {
		share = fmt.Sprintf(" of %s (%d %%)", humanize.IBytes(t.Estimate), percent(t))
	}
	rate := float64(t.Bytes) / max(float64(t.Millis)/1000, 0.001)
	return fmt.Sprintf("received %s%s of dataset %s, %s/s", humanize.IBytes(t.Bytes), share, name, humanize.IBytes(uint64(rate)))
}

func summary(r messages.ResyncReport) string {
	var text strings.Builder
	for _, p := range r.Passes {
		fmt.Fprintf(&text, "%s %s in %.1f s, ", p.Kind, humanize.IBytes(p.Bytes), float64(p.Millis)/1000)
	}
	return text.String() + "down for " + downtime(r)
}

func downtime(r messages.ResyncReport) string {
	if r.DownMillis == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%.1f s", float64(r.DownMillis)/1000)
}
