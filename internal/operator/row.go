package operator

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// Row is one node, put together from what its sidecars say. Its JSON form is the
// command's -o json.
type Row struct {
	Node messages.NodeName `json:"node"`
	// Role is PostgreSQL's; "" when no sidecar is there to tell.
	Role messages.Role `json:"role,omitempty"`
	// State is one word: publishing, a phase, waiting, absent, silent.
	State     string            `json:"state"`
	Publisher bool              `json:"publisher"`
	Timeline  messages.Timeline `json:"timeline,omitempty"`
	LSN       string            `json:"lsn,omitempty"`
	// Lag is in bytes of WAL behind the publisher; nil when it cannot be told.
	Lag    *uint64             `json:"lag_bytes,omitempty"`
	Base   messages.SnapshotID `json:"base,omitempty"`
	BaseAt time.Time           `json:"base_at,omitzero"`
	// Verdict with Reason, and Evidence as a sentence; "" while a resync works that no
	// verdict began.
	Verdict  messages.Verdict `json:"verdict,omitempty"`
	Reason   messages.Reason  `json:"reason,omitempty"`
	Evidence string           `json:"evidence,omitempty"`

	Paused   *messages.Pause          `json:"paused,omitempty"`
	Last     *messages.ResyncReport   `json:"last_resync,omitempty"`
	Transfer *messages.TransferReport `json:"transfer,omitempty"`
	Kept     []messages.Dataset       `json:"kept,omitempty"`
	// Versions are the sidecars', by name; SeenAt is when the node was last heard of.
	Versions map[string]string `json:"versions,omitempty"`
	SeenAt   time.Time         `json:"seen_at,omitzero"`
	// Attention is why a human should look; "" when nothing is wrong.
	Attention string `json:"attention,omitempty"`
}

// The states that are no phases.
const (
	StatePublishing = "publishing"
	StateAbsent     = "absent" // no sidecar of it is present
	StateSilent     = "silent" // present, but it does not answer
	StateStandingBy = "standing-by"
)

// Rows puts the facts together, by name, the publisher first.
func Rows(f *Facts) []Row {
	byNode := map[messages.NodeName][]Sidecar{}
	for _, s := range f.Sidecars {
		byNode[s.Node] = append(byNode[s.Node], s)
	}
	for n := range f.Seen {
		if _, ok := byNode[n]; !ok {
			byNode[n] = nil
		}
	}
	var rows []Row
	for _, n := range slices.Sorted(maps.Keys(byNode)) {
		rows = append(rows, row(f, n, byNode[n]))
	}
	slices.SortStableFunc(rows, func(a, b Row) int {
		switch {
		case a.Publisher == b.Publisher:
			return 0
		case a.Publisher:
			return -1
		}
		return 1
	})
	head := publisherLSN(f)
	for i := range rows {
		rows[i].lag(head, f)
		rows[i].attention(f)
	}
	return rows
}

func row(f *Facts, n messages.NodeName, sidecars []Sidecar) Row {
	r := Row{Node: n, State: StateAbsent, Publisher: f.publishes(n), SeenAt: f.Seen[n]}
	for _, s := range sidecars {
		r.add(s)
	}
	if r.Publisher && r.State != StateSilent && len(sidecars) > 0 {
		r.State = StatePublishing
	}
	return r
}

// add takes over what a sidecar knows. On a node with both, that of the sidecar
// which is on duty counts.
func (r *Row) add(s Sidecar) {
	if r.Versions == nil {
		r.Versions = map[string]string{}
	}
	r.Versions[s.Sidecar] = s.Version
	if s.At.After(r.SeenAt) {
		r.SeenAt = s.At
	}
	if s.Role != messages.RoleDown || r.Role == "" {
		r.Role = s.Role
	}
	if s.Identity != nil {
		r.Timeline, r.LSN = s.Identity.Timeline.Current, s.Identity.LSN.String()
	}
	if s.Paused != nil {
		r.Paused = s.Paused
	}
	secondary := s.Sidecar == messages.SidecarSecondary
	if secondary != r.Publisher || r.Base == "" {
		r.base(s.Base)
	}
	switch {
	case s.Silent != "":
		r.State = StateSilent
	case secondary:
		r.State = string(s.Phase)
	case r.State == StateAbsent:
		r.State = StateStandingBy
	}
	if secondary {
		r.Verdict, r.Reason, r.Evidence = s.Judgement()
		r.Last, r.Transfer, r.Kept = s.Last, s.Transfer, s.Kept
	}
}

func (r *Row) base(id messages.SnapshotID) {
	if r.Base = id; id != "" {
		r.BaseAt, _ = id.Time()
	}
}

func publisherLSN(f *Facts) messages.LSN {
	var head messages.LSN
	if f.Lease != nil {
		head = f.Lease.LSN
	}
	for _, s := range f.Sidecars {
		if f.publishes(s.Node) && s.Identity != nil {
			head = max(head, s.Identity.LSN)
		}
	}
	return head
}

// lag is told on one timeline only: positions of two are not comparable.
func (r *Row) lag(head messages.LSN, f *Facts) {
	if r.Publisher || r.Role != messages.RoleStandby || r.LSN == "" || f.Lease == nil || r.Timeline != f.Lease.Timeline {
		return
	}
	at, err := messages.ParseLSN(r.LSN)
	if err != nil {
		return
	}
	behind := head.Sub(at)
	r.Lag = &behind
}

// attention finds what a human should look at, the worst first.
func (r *Row) attention(f *Facts) {
	switch {
	case r.State == StateAbsent:
		r.Attention = "no sidecar of it is present, last heard of " + ago(f.At, r.SeenAt)
	case r.State == StateSilent:
		r.Attention = "its sidecar does not answer"
	case r.State == string(messages.PhaseNeedsOperator):
		r.Attention = "its resync needs an operator" + because(r.Last)
	case r.Verdict == messages.VerdictNeedsOperator && !r.Publisher:
		r.Attention = r.Evidence
	case r.State == string(messages.PhaseWaiting):
		r.Attention = "its last resync failed and is tried again" + because(r.Last)
	case r.Paused != nil:
		r.Attention = "paused " + r.Paused.String()
	case (r.Verdict == messages.VerdictWait || r.Verdict == messages.VerdictResync) && !r.Publisher:
		r.Attention = r.Evidence
	case len(r.Kept) > 0:
		r.Attention = fmt.Sprintf("%d datasets were set aside for you: %v", len(r.Kept), r.Kept)
	}
}

func because(last *messages.ResyncReport) string {
	if last == nil || last.Error == "" {
		return ""
	}
	text := ": " + last.Error
	if last.Remedy != "" {
		text += " (" + last.Remedy + ")"
	}
	return text
}

func ago(now, t time.Time) string { return now.Sub(t).Round(time.Second).String() + " ago" }

// Progress is how far a transfer is: a share from 0 to 1, its rate in bytes per
// second and what is left at that rate; zero what is not known.
func Progress(t *messages.TransferReport) (share, rate float64, left time.Duration) {
	if t == nil {
		return 0, 0, 0
	}
	switch {
	case t.Rate > 0:
		rate = float64(t.Rate)
	case t.Millis > 0:
		rate = float64(t.Bytes) / (float64(t.Millis) / 1000)
	}
	if t.Estimate == 0 {
		return 0, rate, 0
	}
	// An estimate is one: what came beyond it is no reason to show more than all.
	share = min(float64(t.Bytes)/float64(t.Estimate), 1)
	switch {
	case t.LeftMillis > 0:
		left = time.Duration(t.LeftMillis) * time.Millisecond
	case rate > 0 && t.Estimate > t.Bytes:
		left = time.Duration(float64(t.Estimate-t.Bytes) / rate * float64(time.Second))
	}
	return share, rate, left
}
