package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pgresync/pgresync/messages"
)

// The outcomes of resyncs; an attempt that is tried again is a failed one.
const (
	outcomeRejoined = "rejoined"
	outcomeFailed   = "failed"
	outcomeOperator = "needs-operator"
)

// events counts what happens.
type events struct {
	all      *prometheus.CounterVec
	begun    *prometheus.CounterVec
	ended    *prometheus.CounterVec
	troubles prometheus.Counter
	passes   *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	phases   *prometheus.HistogramVec
	total    prometheus.Histogram
	down     prometheus.Histogram
	standby  bool

	mu    sync.Mutex
	phase messages.Phase
	since time.Time
}

func newEvents(sidecar string) *events {
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Name: prefix + name, Help: help}
	}
	e := &events{
		standby:  sidecar == messages.SidecarSecondary,
		all:      prometheus.NewCounterVec(opts("events_total", "Events of this node, by type."), []string{"type"}),
		begun:    prometheus.NewCounterVec(opts("resyncs_started_total", "Resyncs that began, by what made them."), []string{"reason"}),
		ended:    prometheus.NewCounterVec(opts("resyncs_total", "Attempts at resyncs that ended: rejoined, failed (it is tried again), needs-operator."), []string{"outcome"}),
		troubles: prometheus.NewCounter(opts("transfers_interrupted_total", "Transfers that were cut and went on, or began anew.")),
		passes:   prometheus.NewCounterVec(opts("passes_total", "Passes of resyncs that rejoined: a seed is a whole copy, an increment what changed, none needed no data."), []string{"kind"}),
		bytes:    prometheus.NewCounterVec(opts("passes_bytes_total", "Bytes that these passes moved."), []string{"kind"}),
		phases:   prometheus.NewHistogramVec(histogram("resync_phase_duration_seconds", "How long each phase of a resync took."), []string{"phase"}),
		total:    prometheus.NewHistogram(histogram("resync_duration_seconds", "From the request to the proof that the standby streams.")),
		down:     prometheus.NewHistogram(histogram("resync_down_seconds", "From the stop of the old copy to the first answer of the new one.")),
	}
	// A series that begins at 0 shows its first increase.
	for _, o := range []string{outcomeRejoined, outcomeFailed, outcomeOperator} {
		e.ended.WithLabelValues(o)
	}
	return e
}

func histogram(name, help string) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{Name: prefix + name, Help: help, Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 180, 600, 1800, 7200, 21600}}
}

func (e *events) collectors() []prometheus.Collector {
	if !e.standby {
		return []prometheus.Collector{e.all}
	}
	return []prometheus.Collector{e.all, e.begun, e.ended, e.troubles, e.passes, e.bytes, e.phases, e.total, e.down}
}

// Describe implements prometheus.Collector.
func (e *events) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range e.collectors() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (e *events) Collect(ch chan<- prometheus.Metric) {
	for _, c := range e.collectors() {
		c.Collect(ch)
	}
}

func (e *events) observe(ev messages.Event) {
	e.all.WithLabelValues(string(ev.Type)).Inc()
	if ev.Transfer != nil && ev.Transfer.Trouble != "" {
		e.troubles.Inc()
	}
	if ev.Resync == nil {
		return
	}
	e.turn(ev)
	switch ev.Type { //nolint:exhaustive // the others end no attempt
	case messages.EventRejoined:
		e.rejoined(ev.Resync)
	case messages.EventFailed:
		e.ended.WithLabelValues(outcomeFailed).Inc()
	case messages.EventNeedsOperator:
		e.ended.WithLabelValues(outcomeOperator).Inc()
	}
}

// turn measures the phase that ended. The first one that is seen was begun by an
// earlier process, perhaps long ago: it is not measured.
func (e *events) turn(ev messages.Event) {
	e.mu.Lock()
	was, since := e.phase, e.since
	e.phase, e.since = ev.Resync.Phase, ev.At
	e.mu.Unlock()
	if ev.Resync.Phase == messages.PhaseRequested {
		e.begun.WithLabelValues(string(ev.Resync.Reason)).Inc()
	}
	if was == "" || was == messages.PhaseIdle || was == messages.PhaseNeedsOperator {
		return // nobody works in them
	}
	e.phases.WithLabelValues(string(was)).Observe(max(0, ev.At.Sub(since).Seconds()))
}

func (e *events) rejoined(r *messages.ResyncReport) {
	e.ended.WithLabelValues(outcomeRejoined).Inc()
	e.total.Observe(float64(r.TotalMillis) / 1000)
	if r.DownMillis > 0 {
		e.down.Observe(float64(r.DownMillis) / 1000)
	}
	for _, p := range r.Passes {
		e.passes.WithLabelValues(string(p.Kind)).Inc()
		e.bytes.WithLabelValues(string(p.Kind)).Add(float64(p.Bytes))
	}
}
