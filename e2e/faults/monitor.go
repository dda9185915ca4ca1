package faults

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// The most that the primary's pg_wal may ever take, of max_slot_wal_keep_size,
// max_wal_size and some segments in the making (world.settings).
const mostWAL = (512 + 128 + 64) << 20

// Monitor looks at the promises all the time, whatever goes on.
type Monitor struct {
	r      *Rig
	cancel context.CancelFunc
	done   chan struct{}

	looking sync.Mutex // held while it looks

	mu      sync.Mutex
	seen    Seen
	good    string // GUID of the live copy when it was proven last
	suspect string // what the last look found missing or touched
	resync  messages.ResyncID
}

// Seen is what a monitor saw: the most of everything, and what must not be.
type Seen struct {
	Samples    int      `json:"samples"`
	Blind      int      `json:"blind"` // nodes that were off, or did not answer in time
	MostWAL    int64    `json:"most_wal_bytes"`
	MostSlots  int      `json:"most_slots"`
	Datasets   int      `json:"most_datasets"`
	Snapshots  int      `json:"most_snapshots"`
	Bookmarks  int      `json:"most_bookmarks"`
	Violations []string `json:"violations"`
}

// Watch begins.
func (r *Rig) Watch(ctx context.Context) *Monitor {
	ctx, cancel := context.WithCancel(ctx)
	m := &Monitor{r: r, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(m.done)
		m.run(ctx)
	}()
	return m
}

// Stop ends it.
func (m *Monitor) Stop() Seen {
	m.cancel()
	<-m.done
	return m.Seen()
}

// Unseen runs f while nobody looks, and forgets what the standby had before: f gives
// it another disk.
func (m *Monitor) Unseen(f func() error) error {
	m.looking.Lock()
	defer m.looking.Unlock()
	m.mu.Lock()
	m.good = ""
	m.mu.Unlock()
	return f()
}

// Seen is what it saw so far.
func (m *Monitor) Seen() Seen {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.seen
	out.Violations = append([]string{}, m.seen.Violations...)
	return out
}

// run looks at most half of the time: in an emulated machine a look takes seconds of
// the processors, which what is looked at needs, too.
func (m *Monitor) run(ctx context.Context) {
	rest := time.NewTimer(0)
	defer rest.Stop()
	for ctx.Err() == nil {
		began := time.Now()
		err := m.look(ctx)
		m.mu.Lock()
		m.seen.Samples++
		if err != nil && ctx.Err() == nil {
			m.seen.Blind++
		}
		m.mu.Unlock()
		rest.Reset(max(2*time.Second, time.Since(began)))
		select {
		case <-ctx.Done():
		case <-rest.C:
		}
	}
}

func (m *Monitor) look(ctx context.Context) error {
	m.looking.Lock()
	defer m.looking.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := m.primary(ctx); err != nil {
		return err
	}
	if err := m.counts(ctx); err != nil {
		return err
	}
	lost, err := m.copy(ctx)
	if err != nil {
		return err
	}
	touched := m.r.Untouched(ctx)
	if touched != nil && !errors.Is(touched, errTouched) {
		return touched // a node that is off, or in the middle of a boot
	}
	if touched != nil {
		lost += "I-2: " + touched.Error()
	}
	m.judge(lost)
	return nil
}

// judge believes what two looks in a row have found. A list of datasets is not
// atomic: while one is renamed, or its pool exported, it may be on neither side.
// What was destroyed does not come back.
func (m *Monitor) judge(found string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if found != "" {
		m.r.Say("the monitor: %s", found)
	}
	if found != "" && found == m.suspect {
		m.violated("%s", found)
	}
	m.suspect = found
}

const primaryState = `select (select sum(size) from pg_ls_waldir()), (select count(*) from pg_replication_slots where slot_name like 'pgresync%')`

func (m *Monitor) primary(ctx context.Context) error {
	out, err := m.r.Primary.SQL(ctx, primaryState)
	if err != nil {
		return err
	}
	var n [2]int64
	for i, f := range strings.Split(out, "|") {
		if n[i], err = strconv.ParseInt(f, 10, 64); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen.MostWAL, m.seen.MostSlots = max(m.seen.MostWAL, n[0]), max(m.seen.MostSlots, int(n[1]))
	if n[0] > mostWAL {
		m.violated("I-9: pg_wal of the primary has %d bytes, of at most %d", n[0], mostWAL)
	}
	// The live copy's, and the coming one's. One of an attempt that was given up may be
	// there until the collector comes.
	if n[1] > 3 {
		m.violated("I-9: %d slots", n[1])
	}
	return nil
}

// copy checks I-3: the copy that was proven last is there until another one is. It
// returns what it misses.
func (m *Monitor) copy(ctx context.Context) (lost string, err error) {
	before, err := m.r.Journal(ctx)
	if err != nil {
		return "", err
	}
	list, err := m.r.Standby.Run(ctx, "zfs", "list", "-H", "-r", "-t", "filesystem", "-o", "name,guid", m.r.Standby.Pool())
	if err != nil {
		return "", err
	}
	after, err := m.r.Journal(ctx)
	if err != nil || before.Phase != after.Phase || before.ID != after.ID {
		return "", err // too much happens to tell
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	live := ""
	for line := range strings.SplitSeq(list, "\n") {
		if name, guid, _ := strings.Cut(line, "\t"); name == m.r.Standby.Live() {
			live = guid
		}
	}
	// A look may come too late for the rest after a proof. The first one in the next
	// resync makes up for it; from then on that copy has to stay.
	late := after.ID != m.resync
	m.resync = after.ID
	if after.Proven && live != "" && (late || after.Phase == messages.PhaseIdle) {
		m.good = live
	} else if m.good != "" && !strings.Contains(list+"\n", "\t"+m.good+"\n") {
		return fmt.Sprintf("I-3: the copy that was proven last, guid %s, is gone; ", m.good), nil
	}
	return "", nil
}

func (m *Monitor) counts(ctx context.Context) error {
	for _, n := range m.r.W.Nodes() {
		out, err := n.Run(ctx, "zfs", "list", "-H", "-r", "-t", "all", "-o", "type", n.Pool())
		if err != nil {
			return err
		}
		m.mu.Lock()
		m.seen.Datasets = max(m.seen.Datasets, strings.Count(out, "filesystem"))
		m.seen.Snapshots = max(m.seen.Snapshots, strings.Count(out, "snapshot"))
		m.seen.Bookmarks = max(m.seen.Bookmarks, strings.Count(out, "bookmark"))
		m.mu.Unlock()
	}
	return nil
}

// violated needs the lock.
func (m *Monitor) violated(format string, args ...any) {
	const most = 50
	if len(m.seen.Violations) < most {
		m.seen.Violations = append(m.seen.Violations, fmt.Sprintf("%s "+format, append([]any{time.Now().UTC().Format(time.TimeOnly)}, args...)...))
	}
}
