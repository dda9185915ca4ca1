package secondary

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// pgData is a data directory, as far as it matters.
type pgData struct {
	sysid    messages.SystemID
	timeline messages.Timeline
	fork     messages.LSN // where timeline left its parent, 0 on the first
	at, stop messages.LSN // replayed to; consistent from
	state    string       // pg_control's
	signal   bool         // standby.signal
	label    bool         // prepared to the end
	slot     string
	streamed bool // past stop: proven good
	started  int
	promoted bool
	// unsaved: it was promoted, and pg_control knows nothing of it yet.
	unsaved bool
	// apart: its log is not the primary's although the timeline is.
	apart    bool
	upstream string // primary_conninfo
	// crawls is how many bytes per second it replays, 0 for all at once.
	crawls     messages.LSN
	crawlsFrom time.Time
	// connections is its max_connections, 0 for enough.
	connections int
}

// postmaster is the node's one server, of the configured port.
type postmaster struct {
	ds    messages.Dataset // that holds its data directory
	parts []messages.Dataset
	dir   string
	ready time.Time
	ends  time.Time // it is shutting down
	since int       // the point at which somebody else started it
}

// unseen is true when somebody started it so short a while ago that a check right
// before may not have seen it. Then ZFS is what refuses.
func (p *postmaster) unseen(now int) bool { return p.since > 0 && now-p.since < 6 }

const (
	simData  = "main" // PGDATA below the mount point of the root dataset
	simReady = 2 * time.Second
)

// up is the server that lives now.
func (w *world) up() *postmaster {
	if p := w.server; p != nil && !p.ends.IsZero() && !time.Now().Before(p.ends) {
		pg := w.pool[p.ds].content.pg
		if pg.state = "shut down in recovery"; pg.promoted {
			pg.state = "shut down"
		}
		w.server = nil
	}
	return w.server
}

func (w *world) inUse(d messages.Dataset) bool {
	p := w.up()
	if p == nil {
		return false
	}
	return slices.Contains(p.parts, d)
}

// serving is the data that answers queries now.
func (w *world) serving() *pgData {
	p := w.up()
	if p == nil || time.Now().Before(p.ready) || !p.ends.IsZero() {
		return nil
	}
	return w.pool[p.ds].content.pg
}

// launch is what the postmaster does with what it finds at dir.
func (w *world) launch(dir string) error {
	ds, ok := w.at(dir)
	if !ok || w.pool[ds].content.pg == nil {
		return fmt.Errorf("start in %s: %w", dir, messages.ErrNotFound)
	}
	pg := w.pool[ds].content.pg
	if p := w.up(); p != nil {
		if p.ds != ds && !p.unseen(w.points) {
			w.breaks("a second postmaster is started, on %s beside %s", ds, p.ds)
		}
		return fmt.Errorf("start in %s: %w", dir, messages.ErrBusy)
	}
	parts := []messages.Dataset{ds}
	for _, rel := range []messages.RelName{"wal", "space"} {
		path := simMounts[rel]
		part, ok := w.at(path)
		if !ok || part == ds {
			return fmt.Errorf("start in %s: nothing is mounted at %s", dir, path)
		}
		if have, want := w.pool[part].content.copy, w.pool[ds].content.copy; have != want {
			w.breaks("%s of copy %q is started with %s of copy %q", ds, want, part, have)
		}
		parts = append(parts, part)
	}
	if pg.connections != 0 && pg.connections < simConnections {
		return errSettings
	}
	if w.startFails != nil {
		if err := w.startFails(pg); err != nil {
			return fmt.Errorf("start PostgreSQL in %s: %w", dir, err)
		}
	}
	if !pg.signal && !pg.promoted {
		w.breaks("I-4: %s is started without standby.signal", ds)
	}
	pg.started++
	if pg.state = "in archive recovery"; pg.promoted {
		pg.state = "in production"
	}
	w.server = &postmaster{ds: ds, parts: parts, dir: dir, ready: time.Now().Add(simReady)}
	return nil
}

// startByOthers is a unit, or a person, that starts what is at PGDATA.
func (w *world) startByOthers() {
	if w.up() == nil && w.launch(filepath.Join(simMounts[""], simData)) == nil {
		w.server.since = max(w.points, 1)
	}
}

// streams says why pg does not stream, "" when it does; then it is where the
// primary is.
func (w *world) streams(pg *pgData) string {
	slot := w.pub.slots[pg.slot]
	switch {
	case pg.promoted:
		return "it is a primary"
	case time.Now().Before(w.cutUntil):
		return "the network is cut"
	case w.mute != nil && w.mute(pg):
		return "mute"
	case pg.apart:
		return "its log is another one"
	case pg.upstream != "" && !names(pg.upstream, messages.Lease{Host: string(w.pub.host), Port: 5432}):
		return "it asks another node"
	case !w.pub.history().Contains(pg.timeline, pg.at):
		return "it is off the primary's history"
	case pg.slot != "" && slot == 0:
		return "its slot is missing"
	case pg.at.SegmentStart(simSegment) < w.pub.oldest() && (slot == 0 || slot.SegmentStart(simSegment) > pg.at):
		return "its WAL is gone"
	}
	pg.timeline = w.pub.timeline
	if pg.crawls == 0 {
		pg.at = w.pub.lsn
	} else {
		pg.at = min(w.pub.lsn, pg.at+messages.LSN(time.Since(pg.crawlsFrom).Seconds())*pg.crawls)
		pg.crawlsFrom = time.Now()
	}
	if pg.slot != "" {
		w.pub.slots[pg.slot] = pg.at
	}
	if pg.at >= pg.stop {
		pg.streamed = true
	}
	return ""
}

type dbHand struct{ hand }

var _ Database = dbHand{}

func (d dbHand) Identity(ctx context.Context) (messages.Identity, error) {
	if err := d.point(ctx, "ask who PostgreSQL is"); err != nil {
		return messages.Identity{}, err
	}
	pg := d.serving()
	if pg == nil {
		return messages.Identity{}, messages.ErrUnavailable
	}
	id := messages.Identity{SystemID: pg.sysid, Version: simVersion, Role: messages.RoleStandby, Timeline: d.pub.history()}
	if pg.timeline != d.pub.timeline {
		id.Timeline = messages.TimelineHistory{Current: pg.timeline, Ancestors: []messages.TimelineSwitch{{Timeline: 1, EndLSN: pg.fork}}}
	}
	if pg.promoted {
		id.Role = messages.RolePrimary
	}
	d.streams(pg)
	id.LSN = pg.at
	return id, nil
}

func (d dbHand) Receiver(ctx context.Context) (messages.Receiver, error) {
	if err := d.point(ctx, "ask about the receiver"); err != nil {
		return messages.Receiver{}, err
	}
	pg := d.serving()
	if pg == nil {
		return messages.Receiver{}, messages.ErrUnavailable
	}
	r := messages.Receiver{InRecovery: !pg.promoted, Timeline: pg.timeline, SlotName: pg.slot, SenderHost: string(d.pub.host), SenderPort: 5432}
	r.Streaming = d.streams(pg) == ""
	r.ReplayLSN, r.ReceiveLSN = pg.at, pg.at
	return r, nil
}

type pgHand struct{ hand }

var _ Postgres = pgHand{}

func (p pgHand) Server(dir string) (Server, error) { return serverHand{p.hand, dir}, nil }

func (p pgHand) Major(ctx context.Context) (int, error) {
	return simVersion.Major(), p.point(ctx, "ask the version of the programs")
}

func (p pgHand) Owner() (uid, gid int, err error) { return 26, 26, nil }

func (p pgHand) Keep(ctx context.Context, from, to string, _ []string) error {
	if err := p.point(ctx, "keep local files"); err != nil {
		return err
	}
	ds, ok := p.at(to)
	if !ok || ds != p.cfg.local() || from != filepath.Join(simMounts[""], simData) {
		p.breaks("local files are kept from %s in %s", from, ds)
		return nil
	}
	p.pool[ds].local["files"] = "kept"
	return p.point(ctx, "local files are kept")
}

func (p pgHand) Configured(ctx context.Context, setup messages.StandbySetup, names []string) (map[string]int, error) {
	if err := p.point(ctx, "read the copy's configuration"); err != nil {
		return nil, err
	}
	if p.elsewhere {
		return nil, absent("postgresql.conf")
	}
	out := map[string]int{}
	for _, name := range names {
		out[name] = p.connections
		if v, ok := setup.Settings[name]; ok {
			out[name], _ = strconv.Atoi(v)
		}
	}
	return out, nil
}

func (p pgHand) Prepare(ctx context.Context, setup messages.StandbySetup) error {
	if err := p.point(ctx, "prepare"); err != nil {
		return err
	}
	ds, ok := p.at(setup.DataDir)
	if !ok || p.pool[ds].content.pg == nil {
		return fmt.Errorf("prepare %s: %w", setup.DataDir, messages.ErrNotFound)
	}
	pg := p.pool[ds].content.pg
	wal, ok := p.at(setup.WALStaged)
	switch {
	case pg.started > 0:
		return fmt.Errorf("prepare %s: it was started: %w", setup.DataDir, messages.ErrRefused)
	case !ok || p.pool[wal].content.copy != p.pool[ds].content.copy:
		p.breaks("WAL of %s is prepared on %s", ds, wal)
	case !strings.HasPrefix(setup.FinalDataDir, simMounts[""]) || setup.WALDir != simMounts["wal"]:
		p.breaks("the copy is prepared for %s and %s", setup.FinalDataDir, setup.WALDir)
	}
	pg.signal = true
	if err := p.point(ctx, "prepared half"); err != nil {
		return err
	}
	if live, ok := p.at(filepath.Join(simMounts[""], simData)); ok && p.pool[live].content.pg != nil && setup.KeepFrom != filepath.Join(simMounts[""], simData) {
		p.breaks("local files are kept from %q", setup.KeepFrom)
	}
	if kept := p.pool[p.cfg.local()]; p.waived && p.pool[p.cfg.Dataset] == nil && (setup.KeepFrom == "" || kept == nil || kept.local["files"] == "") {
		p.breaks("the local files of the copy that was given up are forgotten")
	}
	pg.label, pg.slot, pg.connections, pg.upstream = true, setup.SlotName, p.connections, setup.PrimaryConninfo
	if v, ok := setup.Settings["max_connections"]; ok {
		pg.connections, _ = strconv.Atoi(v)
	}
	return p.point(ctx, "prepared")
}

// UsersOf names the stranger unless it hides, as those of other users do from a
// sidecar that is not root.
func (w *world) UsersOf(mountpoints []string) []string {
	if m, is := w.mountedAt(w.stranger); is && !w.strangerHides && slices.Contains(mountpoints, m.at) && time.Now().Before(w.strangerUntil) {
		return []string{"backup-agent (process 4711)"}
	}
	return nil
}

type serverHand struct {
	hand
	dir string
}

var _ Server = serverHand{}

func (s serverHand) Start(ctx context.Context) error {
	if err := s.point(ctx, "start PostgreSQL"); err != nil {
		return err
	}
	if err := s.launch(s.dir); err != nil {
		return err
	}
	if err := s.point(ctx, "PostgreSQL is starting"); err != nil {
		return err
	}
	if err := wait(ctx, simReady); err != nil {
		return err
	}
	return s.point(ctx, "PostgreSQL has started")
}

func (s serverHand) Stop(ctx context.Context, immediate bool) error {
	if err := s.point(ctx, "stop PostgreSQL"); err != nil {
		return err
	}
	p := s.mine()
	if p == nil {
		return nil
	}
	if immediate {
		s.server = nil
		return s.point(ctx, "PostgreSQL is stopped at once")
	}
	p.ends = time.Now().Add(time.Second)
	if err := s.point(ctx, "PostgreSQL is stopping"); err != nil {
		return err
	}
	if err := wait(ctx, time.Second); err != nil {
		return err
	}
	return s.point(ctx, "PostgreSQL has stopped")
}

// mine is the server whose data directory shows at dir.
func (s serverHand) mine() *postmaster {
	p := s.up()
	if ds, ok := s.at(s.dir); p != nil && ok && ds == p.ds {
		return p
	}
	return nil
}

func (s serverHand) Running(ctx context.Context) (bool, error) {
	err := s.point(ctx, "ask whether PostgreSQL runs")
	return s.mine() != nil, err
}

func (s serverHand) Loggable(ctx context.Context) error {
	if err := s.point(ctx, "see to the log file"); err != nil {
		return err
	}
	if beside := filepath.Dir(s.dir); s.unloggable || !s.shows(beside) {
		return fmt.Errorf("log file in %s: %w", beside, messages.ErrPermission)
	}
	return nil
}

// shows: a directory in which nothing is mounted is root's.
func (w *world) shows(dir string) bool {
	_, ok := w.at(dir)
	return ok
}

func (s serverHand) IsStandby(ctx context.Context) (bool, error) {
	if err := s.point(ctx, "look for standby.signal"); err != nil {
		return false, err
	}
	ds, ok := s.at(s.dir)
	return ok && s.pool[ds].content.pg != nil && s.pool[ds].content.pg.signal, nil
}

func (s serverHand) ControlData(ctx context.Context) (messages.ControlData, error) {
	if err := s.point(ctx, "read pg_control"); err != nil {
		return messages.ControlData{}, err
	}
	s.up()
	ds, ok := s.at(s.dir)
	if !ok || s.pool[ds].content.pg == nil {
		return messages.ControlData{}, fmt.Errorf("read pg_control in %s: %w", s.dir, messages.ErrNotFound)
	}
	pg := s.pool[ds].content.pg
	cd := messages.ControlData{
		SystemID: pg.sysid, State: pg.state, Timeline: pg.timeline, CheckpointLSN: pg.at, RedoLSN: pg.at, WALSegmentSize: simSegment,
	}
	// A checkpoint as a primary ends it.
	if pg.unsaved || pg.state == "in archive recovery" || pg.state == "shut down in recovery" {
		cd.MinRecoveryLSN, cd.MinRecoveryTimeline = pg.at, pg.timeline
	}
	if pg.unsaved {
		cd.Timeline, cd.CheckpointLSN, cd.RedoLSN = pg.timeline-1, pg.stop-1, pg.stop-1
	}
	return cd, nil
}

// wait lets the bubble's time pass.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
