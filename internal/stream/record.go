package stream

import (
	"context"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/pgresync/pgresync/messages"
)

func newUpload(s *Store, spec Spec, open func(context.Context) (io.ReadCloser, error), tell func(messages.StreamRecord)) *upload {
	now := time.Now()
	u := &upload{
		store: s, spec: spec, open: open, tell: tell,
		opened: make(chan struct{}), nudged: make(chan struct{}, 1), changed: make(chan struct{}),
		readers: map[messages.NodeName]*attached{}, nuids: map[string]bool{},
		flight: newFlight(s.cfg.InFlight), victims: make(chan retained),
		pins: 1, losses: s.losses.Load(),
		rec: messages.StreamRecord{
			V: messages.Version, Stream: spec.Stream, Cluster: s.cfg.Cluster, Node: spec.Node,
			Dataset: spec.Dataset, To: spec.To, From: spec.From, Flags: spec.Flags, Recipients: spec.Recipients, Resumed: spec.Resumed,
			Attempt: messages.NewMessageID(now), State: messages.StreamRunning,
			Estimate: spec.Estimate, Lease: spec.Lease, At: now.UTC(),
		},
	}
	u.measure()
	return u
}

// attempt never changes, and may be read without mu.
func (u *upload) attempt() messages.MessageID { return u.rec.Attempt }

func (u *upload) record() messages.StreamRecord {
	u.mu.Lock()
	defer u.mu.Unlock()
	rec := u.rec
	rec.Readers = slices.Sorted(maps.Keys(u.readers))
	return rec
}

// update changes what mu guards and wakes those who wait for a change.
func (u *upload) update(f func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f()
	u.rec.At = time.Now().UTC()
	u.broadcast()
}

// broadcast: the caller holds mu.
func (u *upload) broadcast() {
	close(u.changed)
	u.changed = make(chan struct{})
}

// keepAlive reports although nothing happened: a record that is not repeated
// expires.
func (u *upload) keepAlive() {
	u.telling.Lock()
	old := time.Since(u.toldAt) > recordInterval
	u.telling.Unlock()
	if old {
		u.update(u.measure)
		u.report(false)
	}
}

// measure: the caller holds mu.
func (u *upload) measure() {
	u.meter.Observe(time.Now(), u.rec.Sent)
	u.rec.Rate, u.rec.LeftMillis = u.meter.Rate(), u.meter.Left(u.rec.Estimate).Milliseconds()
}

// report hands the record to the hub's owner: at once when something
// happened, about once a second for mere progress.
func (u *upload) report(happened bool) {
	if u.tell == nil {
		return
	}
	u.telling.Lock()
	defer u.telling.Unlock()
	if now := time.Now(); happened || now.Sub(u.toldAt) >= time.Second {
		u.toldAt = now
		u.tell(u.record())
	}
}

func (u *upload) trouble(text string) {
	u.update(func() { u.rec.Error = text })
	u.report(text == "")
}
