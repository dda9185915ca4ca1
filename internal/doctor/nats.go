package doctor

import (
	"fmt"
	"time"

	"github.com/pgresync/pgresync/messages"
)

func broker(r *report, f *Facts) {
	n := &f.NATS
	switch {
	case n.Problem != "" && n.Embedded:
		r.ok("nats", "the embedded server starts with the sidecar; ask again then for what depends on it")
		return
	case n.Problem != "":
		r.fail("nats", "start the server, or correct PGRESYNC_NATS_URL and the credentials", "%s", n.Problem)
		return
	}
	r.ok("nats", "server %s answers within %s", n.Server, n.RoundTrip.Round(time.Microsecond))
	if n.MaxPayload < n.NeedPayload {
		r.fail("nats", "max_payload: 1MB, in the server's configuration", "max_payload is %d bytes, documents need %d", n.MaxPayload, n.NeedPayload)
	}
	if n.JetStreamProblem != "" {
		r.fail("jetstream", "jetstream: enabled, in the server's configuration, for this account too", "%s", n.JetStreamProblem)
	}
}

func permissions(r *report, f *Facts) {
	n := &f.NATS
	if n.Problem != "" {
		return
	}
	for _, d := range n.Denied {
		r.fail("permissions", fmt.Sprintf("permissions: { %s: { allow: %q } }, for this user in the server's configuration", d.Verb, d.Subject),
			"the server denies %s on %s", d.Verb, d.Subject)
	}
	if len(n.Denied) == 0 {
		r.ok("permissions", "every subject that this sidecar needs is allowed")
	}
}

func storage(r *report, f *Facts) {
	n := &f.NATS
	if n.Problem != "" || n.JetStreamProblem != "" || n.Store < 0 || !n.Missing {
		return
	}
	if left := n.Store - n.StoreUsed; left < n.NeedStore {
		r.fail("jetstream", "raise the account's max_file_store, or lower PGRESYNC_BUCKET_MAX",
			"%s of file storage are left for this account, streams and buckets may need %s", size(uint64(max(left, 0))), size(uint64(n.NeedStore)))
		return
	}
	r.ok("jetstream", "%s of %s of file storage are used, streams and buckets may need %s", size(uint64(n.StoreUsed)), size(uint64(n.Store)), size(uint64(n.NeedStore)))
}

func resources(r *report, f *Facts) {
	n := &f.NATS
	switch {
	case n.Problem != "" || n.JetStreamProblem != "":
	case n.Resources == "":
		r.ok("streams", "streams and buckets are there and fit")
	case n.Missing && n.Creates:
		r.ok("streams", "streams and buckets are missing and will be made")
	case n.Missing:
		r.fail("streams", "make them as the text says, or set PGRESYNC_NATS_PROVISION=true", "%s", n.Resources)
	default:
		r.fail("streams", "mend or remove them as the text says", "%s", n.Resources)
	}
}

func peers(r *report, f *Facts) {
	switch {
	case f.NATS.Problem != "" || f.NATS.JetStreamProblem != "":
		return
	case f.PeersDenied:
		r.ok("peers", "this user may not list the other sidecars, and need not")
		return
	case len(f.Peers) == 0:
		r.ok("peers", "no sidecar of another node is present yet")
		return
	}
	versions := map[string][]messages.NodeName{}
	for _, p := range f.Peers {
		versions[p.Version] = append(versions[p.Version], p.Node)
		if id := f.Postgres.Identity; id != nil && p.Identity != nil && id.SystemID != p.Identity.SystemID {
			r.fail("peers", "check PGRESYNC_CLUSTER and PGRESYNC_DATASET of both nodes", "node %s has system identifier %s, this one %s: they are two clusters", p.Node, p.Identity.SystemID, id.SystemID)
		}
	}
	if len(versions) > 1 {
		r.warn("peers", "upgrade all, the secondaries first (docs/adr/0003-strict-documents.md)", "their sidecars are of %d versions: %v", len(versions), versions)
		return
	}
	r.ok("peers", "%d sidecars of other nodes are present, all of one version", len(f.Peers))
}

// Clocks matter where times of two nodes are compared: the age of triggers and
// snapshots, and what an operator reads in events.
const (
	skewNoticed = 2 * time.Second
	skewHarmful = time.Minute
)

func clocks(r *report, f *Facts) {
	worst, at := time.Duration(0), Peer{}
	for _, p := range f.Peers {
		if s := max(p.Skew.Abs()-p.Uncertainty, 0); s >= worst {
			worst, at = s, p
		}
	}
	const remedy = "synchronise the clocks of all nodes: chronyc tracking, or timedatectl"
	switch {
	case at.Node == "":
	case worst > skewHarmful:
		r.fail("clock", remedy, "that of node %s is off by %s", at.Node, at.Skew.Round(time.Second))
	case worst > skewNoticed:
		r.warn("clock", remedy, "that of node %s is off by %s", at.Node, at.Skew.Round(100*time.Millisecond))
	default:
		r.ok("clock", "those of the other nodes agree with this one")
	}
}

func resync(r *report, f *Facts) {
	p := f.Resync.Plan
	switch {
	case f.primary() || f.NATS.Problem != "" || f.ZFS.Problem != "":
		return
	case p == nil:
		r.warn("resync", "start the primary sidecar, then ask again", "what a resync would do cannot be told: %s", f.Resync.Problem)
		return
	}
	for _, o := range p.Obstacles {
		r.fail("resync", "what the text says", "it would be stopped: %s", o)
	}
	switch {
	case len(p.Obstacles) > 0:
	case p.Target == "":
		r.ok("resync", "%s has no snapshot yet and would take its first one; then it would be of kind %s, and its size is not known before; %s are available",
			p.Publisher, p.Kind, size(p.Available))
	default:
		r.ok("resync", "now it would be of kind %s and move about %s from %s; %s are available", p.Kind, size(p.Bytes+p.Since), p.Publisher, size(p.Available))
	}
}
