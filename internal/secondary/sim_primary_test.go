package secondary

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/pgresync/pgresync/messages"
)

const (
	simVersion     = messages.PGVersion(170002)
	simSegment     = 16 << 20
	simSystem      = messages.SystemID(7000000000000000001)
	simConnections = 100                    // the primary's max_connections
	simFirst       = messages.GUID(1 << 40) // GUIDs of the publisher lie above
)

// simMounts is where the parts of the cluster are mounted, on both nodes.
var simMounts = map[messages.RelName]string{"": "/srv/pg", "space": "/srv/pg/space", "wal": "/srv/pgwal"}

// publisher is the primary with its sidecar. It recycles WAL as soon as no slot
// keeps it, which is as hard as a primary can be on its standbys.
type publisher struct {
	host     messages.NodeName
	timeline messages.Timeline
	past     []messages.TimelineSwitch
	home     messages.RelName // the dataset with the data directory
	keep     int              // segments that are kept for nobody
	lsn      messages.LSN
	slots    map[string]messages.LSN // restart positions; 0 would be none
	shots    []*messages.Manifest
	contents map[messages.GUID]content
	next     messages.GUID
	// tight is a max_slot_wal_keep_size that nothing fits in: a slot is lost as soon as a
	// pass is made with it.
	tight bool
}

func newPublisher() *publisher {
	return &publisher{host: "db1", timeline: 1, lsn: 0x10000000, slots: map[string]messages.LSN{}, contents: map[messages.GUID]content{}, next: simFirst}
}

func (p *publisher) history() messages.TimelineHistory {
	return messages.TimelineHistory{Current: p.timeline, Ancestors: p.past}
}

// failOver makes another node the publisher, which had the log up to fork. Slots do
// not come along, and neither do snapshots that it never received.
func (p *publisher) failOver(to messages.NodeName, fork messages.LSN) {
	p.past = append(slices.Clone(p.past), messages.TimelineSwitch{Timeline: p.timeline, EndLSN: fork})
	p.host, p.lsn, p.timeline = to, fork+0x1000, p.timeline+1
	clear(p.slots)
	p.shots = slices.DeleteFunc(slices.Clone(p.shots), func(m *messages.Manifest) bool { return m.StopLSN > fork })
}

// places is where its datasets are mounted.
func (p *publisher) places() map[messages.RelName]string {
	out := maps.Clone(simMounts)
	if p.home != "" {
		out[p.home] = filepath.Join(simMounts[""], simData)
	}
	return out
}

func (p *publisher) dataDir() messages.Place {
	if p.home != "" {
		return messages.Place{Dataset: p.home, Path: "."}
	}
	return messages.Place{Path: simData}
}

// write is n segments of change.
func (p *publisher) write(n int) { p.lsn += messages.LSN(n * simSegment) }

func (p *publisher) oldest() messages.LSN {
	oldest := (p.lsn - min(p.lsn, messages.LSN(p.keep*simSegment))).SegmentStart(simSegment)
	for _, restart := range p.slots {
		oldest = min(oldest, restart.SegmentStart(simSegment))
	}
	return oldest
}

func (p *publisher) sent(g messages.GUID) content { return p.contents[g] }

// bracket takes a snapshot of all the datasets.
func (p *publisher) bracket() *messages.Manifest {
	start := p.lsn + 40
	p.lsn += 0x1000
	m := &messages.Manifest{
		V: messages.Version, ID: messages.NewSnapshotID(time.Now()), Cluster: "main", Node: p.host, CreatedAt: time.Now(), Lease: 1,
		SystemID: simSystem, PGVersion: simVersion, Timeline: p.history(), StartLSN: start, StopLSN: p.lsn, WALSegmentSize: simSegment,
		BackupLabel: messages.NewBlob([]byte("label")), Settings: map[string]int{"max_connections": simConnections}, Flags: messages.FlagsPlain,
		Layout: messages.Layout{
			DataDir: p.dataDir(), WALDir: messages.Place{Dataset: "wal", Path: ".", Link: true},
			Tablespaces: []messages.TablespacePlace{{OID: 16400, Place: messages.Place{Dataset: "space", Path: "."}}},
		},
	}
	places := p.places()
	for _, rel := range slices.Sorted(maps.Keys(places)) {
		p.next++
		d := messages.ManifestDataset{
			Name: rel, Kind: messages.KindData, GUID: p.next, CreateTXG: messages.TXG(p.next), Referenced: 1 << 30, RecordSize: 131072,
			Compression: "lz4", Encryption: "off", Travels: rel != "wal", Mountpoint: places[rel],
		}
		m.Datasets = append(m.Datasets, d)
		c := content{copy: "primary"}
		if rel == p.home {
			c.pg = &pgData{sysid: simSystem, timeline: p.timeline, at: start, stop: m.StopLSN, state: "in production"}
		}
		p.contents[d.GUID] = c
	}
	p.shots = append(p.shots, m)
	return m
}

type pubHand struct{ hand }

var (
	_ Primary   = pubHand{}
	_ Downloads = pubHand{}
)

// ask is the way to the publisher, which takes a network.
func (p pubHand) ask(ctx context.Context, what string) error {
	if err := p.point(ctx, what); err != nil {
		return err
	}
	if time.Now().Before(p.cutUntil) {
		return fmt.Errorf("%s: the network is cut: %w", what, messages.ErrUnavailable)
	}
	return nil
}

func (p pubHand) Facts(ctx context.Context) (*messages.PrimaryFacts, error) {
	if err := p.ask(ctx, "ask the publisher for facts"); err != nil {
		return nil, err
	}
	pub := p.pub
	pub.lsn += 0x1000
	f := &messages.PrimaryFacts{
		V: messages.Version, Cluster: "main", Node: pub.host, Lease: 1, At: time.Now(), OldestWAL: pub.oldest(), WALSegmentSize: simSegment,
		Identity: messages.Identity{SystemID: simSystem, Version: simVersion, Role: messages.RolePrimary, Timeline: pub.history(), LSN: pub.lsn},
	}
	serving := p.serving()
	streaming := serving != nil && p.streams(serving) == ""
	f.Streaming = streaming && serving.slot == "" // by a slot that is not ours, or none
	for _, name := range slices.Sorted(maps.Keys(pub.slots)) {
		active := streaming && serving.slot == name
		f.Streaming = f.Streaming || active
		f.Slots = append(f.Slots, messages.SlotState{Name: name, RestartLSN: pub.slots[name], Active: active, WALStatus: messages.WALReserved})
	}
	for _, rel := range slices.Sorted(maps.Keys(pub.places())) {
		h := messages.DatasetHistory{Name: rel}
		for _, m := range pub.shots {
			d, _ := m.Dataset(rel)
			h.History = append(h.History, messages.Snapshot{Name: messages.SnapshotName("tank/pg@" + m.ID.ShortName()), GUID: d.GUID, CreateTXG: d.CreateTXG})
		}
		f.Datasets = append(f.Datasets, h)
	}
	if n := len(pub.shots); n > 0 {
		f.Snapshot = pub.shots[n-1]
	}
	return f, nil
}

// Snapshot serves as the real one does: with a start position any age will do.
func (p pubHand) Snapshot(ctx context.Context, minStart messages.LSN, maxAge time.Duration) (*messages.Manifest, error) {
	if err := p.ask(ctx, "ask the publisher for a snapshot"); err != nil {
		return nil, err
	}
	if p.hesitates > 0 {
		p.hesitates--
		<-ctx.Done()
		return nil, fmt.Errorf("snapshot: %w: %w", messages.ErrUnavailable, ctx.Err())
	}
	var m *messages.Manifest
	if n := len(p.pub.shots); n > 0 {
		last := p.pub.shots[n-1]
		fresh := maxAge > 0 && time.Since(last.CreatedAt) <= maxAge || maxAge == 0 && minStart > 0
		if last.StartLSN >= minStart && fresh {
			m = last
		}
	}
	if m == nil {
		m = p.pub.bracket()
	}
	if p.pub.tight {
		clear(p.pub.slots)
	}
	return m, p.point(ctx, "snapshot is answered")
}

func (p pubHand) Slot(ctx context.Context, id messages.ResyncID, action messages.SlotAction) (messages.SlotState, error) {
	if err := p.ask(ctx, "slot: "+string(action)); err != nil {
		return messages.SlotState{}, err
	}
	name, using := messages.SlotName("db2", id), ""
	if pg := p.serving(); pg != nil && p.streams(pg) == "" {
		using = pg.slot
	}
	switch action {
	case messages.SlotReserve:
		if name == using {
			return messages.SlotState{}, fmt.Errorf("slot %s: %w", name, messages.ErrBusy)
		}
		p.pub.slots[name] = p.pub.lsn
	case messages.SlotRelease:
		if name == using {
			return messages.SlotState{}, fmt.Errorf("slot %s: %w", name, messages.ErrBusy)
		}
		delete(p.pub.slots, name)
	case messages.SlotKeep:
		maps.DeleteFunc(p.pub.slots, func(have string, _ messages.LSN) bool { return have != name && have != using })
	}
	return messages.SlotState{Name: name, RestartLSN: p.pub.slots[name], WALStatus: messages.WALReserved}, p.point(ctx, "slot: "+string(action)+" is answered")
}

// cramped: a live copy that has gone its own way, and a lineage that is of no use,
// take the room of what comes.
func (w *world) cramped() bool {
	stale := false
	for d, fs := range w.pool {
		stale = stale || d.Parent() == w.cfg.Lineage && len(fs.snaps) > 0 && w.pub.sent(fs.snaps[len(fs.snaps)-1].guid).copy == ""
	}
	return w.tight && (stale || w.pool[w.cfg.Dataset] != nil || w.pool[w.cfg.old()] != nil)
}

// AttestWAL knows what the story says of the copy that serves.
func (p pubHand) AttestWAL(ctx context.Context, claims []messages.WALClaim) ([]messages.WALAnswer, error) {
	if err := p.ask(ctx, "compare the logs"); err != nil {
		return nil, err
	}
	answer := messages.WALAnswer{Verdict: messages.WALAgrees}
	if pg := p.serving(); pg != nil && pg.apart {
		answer = messages.WALAnswer{Verdict: messages.WALDiffers, Why: "other bytes"}
	}
	return slices.Repeat([]messages.WALAnswer{answer}, len(claims)), nil
}

func (p pubHand) Estimate(ctx context.Context, _ messages.StreamRequest) (*messages.EstimateReply, error) {
	if p.increment == 0 {
		return nil, messages.ErrUnavailable
	}
	return &messages.EstimateReply{Bytes: p.increment, Written: p.increment}, p.ask(ctx, "estimate")
}

func (p pubHand) SlotAt(ctx context.Context, id messages.ResyncID, _ messages.Timeline, at messages.LSN) (messages.SlotState, error) {
	if err := p.ask(ctx, "slot from an earlier position"); err != nil {
		return messages.SlotState{}, err
	}
	name := messages.SlotName("db2", id)
	delete(p.pub.slots, name)
	if at.SegmentStart(simSegment) < p.pub.oldest() {
		return messages.SlotState{}, absent("log")
	}
	p.pub.slots[name] = at
	return messages.SlotState{Name: name, RestartLSN: at, WALStatus: messages.WALReserved}, p.point(ctx, "slot from an earlier position is answered")
}

func (p pubHand) Stream(ctx context.Context, r messages.StreamRequest) (*messages.StreamRecord, error) {
	if err := p.ask(ctx, "ask for a stream"); err != nil {
		return nil, err
	}
	if _, ok := p.pub.contents[r.To]; !ok {
		return nil, absent("stream")
	}
	if want := (&partial{To: r.To, From: r.From}).token(); r.Token != "" && r.Token != want {
		return nil, messages.ErrTokenInvalid
	}
	if p.cramped() && (p.tightFor == "" || r.Dataset == p.tightFor) {
		return nil, fmt.Errorf("stream: %w", messages.ErrNoSpace)
	}
	return &messages.StreamRecord{
		V: messages.Version, Stream: messages.NewStreamID(r.To, r.From, messages.FlagsPlain, r.Token), Dataset: r.Dataset, To: r.To, From: r.From,
		Flags: messages.FlagsPlain, Resumed: r.Token != "", Estimate: 1 << 20,
	}, nil
}

func (p pubHand) Lease(ctx context.Context) (messages.Lease, uint64, error) {
	if err := p.ask(ctx, "read the lease"); err != nil {
		return messages.Lease{}, 0, err
	}
	return messages.Lease{V: messages.Version, Cluster: "main", Node: p.pub.host, SystemID: simSystem, Timeline: p.pub.timeline, Host: string(p.pub.host), Port: 5432}, 1, nil
}

func (p pubHand) Read(ctx context.Context, rec messages.StreamRecord, _ messages.NodeName, progress func(uint64),
	sink func(ctx context.Context, verified io.Reader) error,
) error {
	if err := p.ask(ctx, "download"); err != nil {
		return fmt.Errorf("download: %w: %w", messages.ErrStreamCut, err)
	}
	if p.hangs > 0 {
		p.hangs--
		<-ctx.Done()
		return fmt.Errorf("download: %w: %w", messages.ErrStreamCut, ctx.Err())
	}
	head, err := json.Marshal(partial{To: rec.To, From: rec.From, Resumed: rec.Resumed})
	if err != nil {
		return err
	}
	progress(uint64(len(head)))
	return sink(ctx, bytes.NewReader(head))
}

// quiet takes what is announced.
type quiet struct{}

func (quiet) Publish(context.Context, messages.Event) error        { return nil }
func (quiet) PutStatus(context.Context, messages.NodeStatus) error { return nil }
