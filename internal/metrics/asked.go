package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pgresync/pgresync/messages"
)

// Sources are asked at each scrape, and so must answer from memory. A nil one is
// left out.
type Sources struct {
	// Ready says why the sidecar is not.
	Ready func() error
	// Publishes is whether this node is the publisher.
	Publishes func() bool
	// State is a standby's; its Lag is in bytes of WAL, false when it is not known.
	State func() messages.NodeStatus
	Lag   func() (uint64, bool)
	// Streams are a publisher's uploads, Waiting the joins that wait for a place.
	Streams func() []messages.StreamRecord
	Waiting func() int
	// Uploaded and Downloaded count parts.
	Uploaded, Downloaded func() Moved
	// Children are the programs that this process ran.
	Children func() []Child
}

// Moved counts parts.
type Moved struct{ Parts, Bytes, Retries uint64 }

// Child counts the runs of one program.
type Child struct {
	Program                  string
	Running, Started, Failed uint64
}

var (
	ready      = describe("ready", "1 when /readyz says 200: the sidecar is connected to NATS.")
	publishing = describe("publishing", "1 while this node is the cluster's publisher: its PostgreSQL is a primary and it holds the lease.")

	phase     = describe("resync_phase", "1 for the state in which the standby's resync machine is; idle when nothing is to be done.", "phase")
	verdict   = describe("verdict", "1 for what the sidecar thinks of its standby. While a resync works nobody asks PostgreSQL, and only the verdict resync that began it is still shown.", "verdict")
	reason    = describe("verdict_reason", "1 for the reason of the present verdict; other reasons are absent.", "reason")
	role      = describe("postgres_role", "1 for the role of the node's PostgreSQL; down when it does not answer.", "role")
	timeline  = describe("postgres_timeline", "PostgreSQL's timeline.")
	position  = describe("postgres_wal_position_bytes", "PostgreSQL's LSN as a number: written on a primary, replayed on a standby.")
	lag       = describe("replication_lag_bytes", "WAL that the publisher has written and this standby has not replayed; absent when that cannot be told.")
	paused    = describe("paused", "1 while an operator's pause holds.")
	base      = describe("base_timestamp_seconds", "When the newest complete snapshot was taken: the one published, or on a standby the one received. Absent when there is none.")
	kept      = describe("kept_datasets", "Datasets that were set aside and wait for the operator.")
	transfer  = describe("transfer_received_bytes", "Bytes received of the stream that is being received; absent when there is none.")
	estimate  = describe("transfer_estimated_bytes", "Estimated size of the stream that is being received; 0 when it is unknown.")
	speed     = describe("transfer_bytes_per_second", "How fast the stream is being received, smoothed.")
	uploads   = describe("uploads", "Uploads by state; running includes those that wait for readers.", "state")
	stalled   = describe("uploads_paused", "Uploads that wait for readers to take what was uploaded.")
	queue     = describe("uploads_waiting", "Standbys that wait because PGRESYNC_MAX_STREAMS uploads run.")
	readers   = describe("upload_readers", "Standbys that read the uploads.")
	sendSpeed = describe("upload_bytes_per_second", "How fast all uploads together are being uploaded, smoothed.")

	parts     = describe("parts_total", "Parts of streams that were stored by a publisher (direction up), or fetched and verified by a standby (down).", "direction")
	partBytes = describe("parts_bytes_total", "Bytes of these parts.", "direction")
	retries   = describe("parts_retried_total", "Attempts to store or fetch a part that came to nothing and were repeated.", "direction")

	running = describe("child_processes", "Child processes that run now.", "program")
	started = describe("child_processes_started_total", "Child processes that were started.", "program")
	failed  = describe("child_processes_failed_total", "Child processes that could not be started, did not exit 0, or were ended.", "program")
)

var (
	verdicts = []messages.Verdict{messages.VerdictHealthy, messages.VerdictWait, messages.VerdictResync, messages.VerdictNeedsOperator}
	roles    = []messages.Role{messages.RolePrimary, messages.RoleStandby, messages.RoleDown}
	states   = []messages.StreamState{messages.StreamRunning, messages.StreamComplete, messages.StreamFailed}
)

// asked is the collector of what is asked at each scrape.
type asked struct{ Sources }

// Describe describes nothing: which metrics there are depends on the state.
func (*asked) Describe(chan<- *prometheus.Desc) {}

// Collect asks.
func (a *asked) Collect(ch chan<- prometheus.Metric) {
	var out []Sample
	if a.Ready != nil {
		out = append(out, truth(ready, a.Ready() == nil))
	}
	if a.Publishes != nil {
		out = append(out, truth(publishing, a.Publishes()))
	}
	if a.State != nil {
		out = append(out, a.standby()...)
	}
	if a.Streams != nil {
		out = append(out, a.publisher()...)
	}
	out = append(out, moved("up", a.Uploaded)...)
	out = append(out, moved("down", a.Downloaded)...)
	if a.Children != nil {
		for _, c := range a.Children() {
			out = append(out, gauge(running, c.Running, c.Program), counter(started, c.Started, c.Program), counter(failed, c.Failed, c.Program))
		}
	}
	send(ch, out)
}

func (a *asked) standby() []Sample {
	st := a.State()
	judged, why, _ := st.Judgement()
	out := slices.Concat(Node(st), oneOf(phase, st.Phase, messages.Phases()), oneOf(verdict, judged, verdicts))
	out = append(out, gauge(kept, len(st.Kept)))
	if why != "" {
		out = append(out, gauge(reason, 1, string(why)))
	}
	if a.Lag != nil {
		if n, known := a.Lag(); known {
			out = append(out, gauge(lag, n))
		}
	}
	if t := st.Transfer; t != nil {
		out = append(out, gauge(transfer, t.Bytes), gauge(estimate, t.Estimate), gauge(speed, t.Rate))
	}
	return out
}

func (a *asked) publisher() []Sample {
	count, pausedOnes, reading, rate := map[messages.StreamState]int{}, 0, 0, uint64(0)
	for _, r := range a.Streams() {
		count[r.State]++
		if r.State != messages.StreamRunning {
			continue
		}
		reading += len(r.Readers)
		rate += r.Rate
		if r.Paused {
			pausedOnes++
		}
	}
	out := []Sample{gauge(stalled, pausedOnes), gauge(readers, reading), gauge(sendSpeed, rate)}
	for _, s := range states {
		out = append(out, gauge(uploads, count[s], string(s)))
	}
	if a.Waiting != nil {
		out = append(out, gauge(queue, a.Waiting()))
	}
	return out
}

func moved(direction string, of func() Moved) []Sample {
	if of == nil {
		return nil
	}
	m := of()
	return []Sample{counter(parts, m.Parts, direction), counter(partBytes, m.Bytes, direction), counter(retries, m.Retries, direction)}
}

// Node is what any sidecar's status says of its node.
func Node(st messages.NodeStatus) []Sample {
	out := append(oneOf(role, st.Role, roles), truth(paused, st.Paused != nil))
	if st.Identity != nil {
		out = append(out, gauge(timeline, st.Identity.Timeline.Current), gauge(position, uint64(st.Identity.LSN)))
	}
	if at, ok := st.Base.Time(); ok {
		out = append(out, gauge(base, float64(at.UnixMilli())/1000))
	}
	return out
}
