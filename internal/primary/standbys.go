package primary

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/messages"
)

// cursors is the document behind messages.PropStandbys.
type cursors struct {
	V        int      `json:"v"`
	Standbys []cursor `json:"standbys"`
}

// cursor is what one standby has. Every complete snapshot has a bookmark before it
// can be sent; a cursor only says that this one is not to be expired.
type cursor struct {
	Node messages.NodeName `json:"node"`
	// Bases are what the standby says it has, newest first.
	Bases []messages.SnapshotID `json:"bases,omitempty"`
	// Sent is a snapshot on its way to it. It is noted before the first byte is sent
	// and forgotten when the standby says that it has it, or does not for long.
	Sent   messages.SnapshotID `json:"sent,omitempty"`
	SentAt time.Time           `json:"sent_at,omitzero"`
	// WantedAt is when the standby was last in a resync, or could not tell.
	WantedAt time.Time `json:"wanted_at,omitzero"`
	Seen     time.Time `json:"seen"`
}

// mostStandbys bounds the document; a cluster has fewer.
const mostStandbys = 64

// Validate reports what is wrong with the document.
func (c *cursors) Validate() error {
	if c.V != messages.Version || len(c.Standbys) > mostStandbys {
		return fmt.Errorf("version %d with %d standbys: want version %d and at most %d", c.V, len(c.Standbys), messages.Version, mostStandbys)
	}
	if slices.ContainsFunc(c.Standbys, func(s cursor) bool { return s.Node == "" || len(s.Bases) > messages.MaxBases }) {
		return errors.New("a standby without a name or with too many bases")
	}
	return nil
}

// standbys remembers the bases of the known standbys, in a user property of the
// live dataset, so that a restart forgets nothing. After a fail-over the new
// publisher learns them from the presence records.
type standbys struct {
	cfg Config
	zfs ZFS
	now Clock
	log zerolog.Logger

	mu    sync.Mutex
	known []cursor
	saved []cursor
}

func (s *standbys) load(ctx context.Context) error {
	tree, err := s.zfs.List(ctx, s.cfg.Dataset)
	if err != nil {
		return fmt.Errorf("read the standbys' bases: %w", err)
	}
	var doc cursors
	if packed := tree[0].Marks[messages.PropStandbys]; packed != "" {
		if err := messages.UnpackProperty(packed, &doc); err != nil {
			s.log.Warn().Err(err).Msg("what is known of the standbys cannot be read; they will tell again")
			doc = cursors{}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known, s.saved = doc.Standbys, slices.Clone(doc.Standbys)
	return nil
}

// sending notes, before it is sent, that node is about to get id.
func (s *standbys) sending(ctx context.Context, node messages.NodeName, id messages.SnapshotID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.of(node)
	c.Seen = s.now().UTC()
	if !slices.Contains(c.Bases, id) {
		c.Sent, c.SentAt = id, c.Seen
	}
	return s.save(ctx)
}

// sentFor is how long a standby that rests may leave what it was sent untold of.
const sentFor = 24 * time.Hour

// heard takes the presence records in and forgets whom nobody has seen for long.
// receives is whether a snapshot is being sent to a node.
func (s *standbys) heard(ctx context.Context, nodes []messages.NodeStatus, receives func(messages.NodeName, messages.SnapshotID) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range nodes {
		if n.Sidecar != "secondary" || n.Node == s.cfg.Node || len(n.Bases) == 0 {
			continue
		}
		c := s.of(n.Node)
		c.heard(n, s.now().UTC(), receives(n.Node, c.Sent), s.cfg.StandbyExpiry)
	}
	s.known = slices.DeleteFunc(s.known, func(c cursor) bool {
		gone := s.now().Sub(c.Seen) > s.cfg.StandbyExpiry
		if gone {
			s.log.Info().Str("standby", string(c.Node)).Time("seen", c.Seen).Msg("standby not seen for long: its bases are no longer kept for it")
		}
		return gone
	})
	return s.save(ctx)
}

// heard takes in what the node tells at now. Its record would be gone if the node were:
// its clock is not asked.
func (c *cursor) heard(n messages.NodeStatus, now time.Time, receives bool, expiry time.Duration) {
	away := now.Sub(c.Seen) > seenGrain
	c.Bases, c.Seen = n.Bases, now
	if receives || c.SentAt.IsZero() { // an earlier version did not note the time
		c.SentAt = now
	}
	if away || n.Phase != "" && n.Phase != messages.PhaseIdle {
		c.WantedAt = now
	}
	// A resync that was dropped is not told of, and what a snapshot pins grows.
	dropped := now.Sub(c.SentAt) > sentFor && now.Sub(c.WantedAt) > sentFor
	if slices.Contains(c.Bases, c.Sent) || dropped || now.Sub(c.SentAt) > expiry {
		c.Sent = ""
	}
	if c.Sent == "" {
		c.SentAt, c.WantedAt = time.Time{}, time.Time{}
	}
}

// of finds a cursor or makes one; at the bound the one unseen for longest goes.
func (s *standbys) of(node messages.NodeName) *cursor {
	i := slices.IndexFunc(s.known, func(c cursor) bool { return c.Node == node })
	if i >= 0 {
		return &s.known[i]
	}
	if len(s.known) >= mostStandbys {
		slices.SortFunc(s.known, func(a, b cursor) int { return b.Seen.Compare(a.Seen) })
		s.known = s.known[:mostStandbys-1]
	}
	s.known = append(s.known, cursor{Node: node})
	return &s.known[len(s.known)-1]
}

// seenGrain: being seen again is no news that must be written at once.
const seenGrain = time.Hour

// save writes what changed. The caller holds mu.
func (s *standbys) save(ctx context.Context) error {
	same := slices.EqualFunc(s.known, s.saved, func(a, b cursor) bool {
		return a.Node == b.Node && a.Sent == b.Sent && slices.Equal(a.Bases, b.Bases) && a.Seen.Sub(b.Seen) < seenGrain &&
			a.SentAt.Sub(b.SentAt) < seenGrain && a.WantedAt.Sub(b.WantedAt) < seenGrain
	})
	if same {
		return nil
	}
	packed, err := messages.PackProperty(&cursors{V: messages.Version, Standbys: s.known})
	if err != nil {
		return err
	}
	if err := s.zfs.SetProperties(ctx, s.cfg.Dataset, map[string]string{messages.PropStandbys: packed}); err != nil {
		return fmt.Errorf("note the standbys' bases: %w", err)
	}
	s.saved = slices.Clone(s.known)
	return nil
}

// wanted are the versions of h that some standby has or is being sent. anchors are
// to stay as snapshots, the newest for each standby: should this node be deposed,
// it can only come back on a snapshot of its own.
func (s *standbys) wanted(h messages.History) (bases, anchors map[messages.GUID]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	bases, anchors = map[messages.GUID]bool{}, map[messages.GUID]bool{}
	byID := map[messages.SnapshotID]messages.Snapshot{}
	for _, v := range h {
		if id, ok := messages.SnapshotIDOf(v.Name); ok && (byID[id].GUID == 0 || byID[id].Bookmark) {
			byID[id] = v
		}
	}
	for _, c := range s.known {
		anchored := false
		for _, id := range c.Bases {
			if v, ok := byID[id]; ok {
				bases[v.GUID] = true
				if !v.Bookmark && !anchored {
					anchors[v.GUID], anchored = true, true
				}
			}
		}
		if v, ok := byID[c.Sent]; ok {
			bases[v.GUID], anchors[v.GUID] = true, true
		}
	}
	return bases, anchors
}
