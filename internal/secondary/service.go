package secondary

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// Deps are the adapters that the service works with.
type Deps struct {
	ZFS       ZFS
	Database  Database
	Follower  Follower
	Postgres  Postgres
	Processes Processes
	Hooks     Hooks
	Primary   Primary
	Downloads Downloads
	// Estimates may be nil: a dry run then knows the size of a seed only.
	Estimates Estimator
	// Reserver may be nil: no copy is made without a transfer then.
	Reserver Reserver
	// Witness and Judge may be nil: the two logs are not compared then.
	Witness  Witness
	Judge    Judge
	Announce Announcer
	// Observe, where it is not nil, is told every event when it happens, NATS or not.
	// It must not block.
	Observe func(messages.Event)
	// Diagnostics may be nil.
	Diagnostics Diagnostics
	Now         Clock
	Log         zerolog.Logger
}

// Service keeps one standby streaming. Trigger is safe for concurrent use while
// Run runs.
type Service struct {
	cfg         Config
	zfs         ZFS
	db          Database
	follower    Follower
	pg          Postgres
	processes   Processes
	hooks       Hooks
	primary     Primary
	downloads   Downloads
	estimates   Estimator
	reserver    Reserver
	witness     Witness
	judge       Judge
	events      Announcer
	diagnostics Diagnostics
	now         Clock
	log         zerolog.Logger
	out         *outbox
	nudge       chan struct{}
	asks        chan func(ctx context.Context) // what the engine does between two resyncs
	working     *atomic.Value                  // messages.ResyncID: every line of its log names it
	ready       chan struct{}                  // closed once the journal is read
	readyOnce   sync.Once

	mu         sync.Mutex // guards what follows
	j          resync.Journal
	verdict    plan.Diagnosis
	local      *messages.Identity
	lastReport *messages.ResyncReport
	kept       []messages.Dataset
	bases      []messages.SnapshotID
	paused     *messages.Pause
	moving     *messages.TransferReport
	asker      asker
	behind     *uint64 // bytes of WAL, nil when it cannot be told

	// Only the engine touches these.
	previous plan.Diagnosis
	looked   plan.Facts        // what previous was made of
	streamed messages.Timeline // greatest that the live copy was seen streaming on
	reverts  int
	compared compared
	// compareAt is when the log is held against the publisher's next.
	compareAt time.Time
	chaseAt   time.Time
	// replays are the positions of the last minutes; increment is what was last estimated
	// for one, incrementAt when to ask again.
	replays     []replayed
	increment   uint64
	incrementAt time.Time
	starts      starts
	released    messages.ResyncID // whose slot is known to be gone
	resumed     bool              // the journal's phase was begun by an earlier run
	tidyAt      time.Time
	trackAt     time.Time
	tracked     messages.SnapshotID    // what the lineage is known to have
	facts       *messages.PrimaryFacts // the publisher's latest, nil when it does not answer
}

// New wires the service; nothing is started.
func New(cfg Config, d Deps) *Service {
	working := &atomic.Value{}
	d.Log = d.Log.Hook(zerolog.HookFunc(func(e *zerolog.Event, _ zerolog.Level, _ string) {
		if id, _ := working.Load().(messages.ResyncID); id != "" {
			e.Str("resync", string(id))
		}
	}))
	return &Service{
		working: working,
		cfg:     cfg, zfs: d.ZFS, db: d.Database, follower: d.Follower, pg: d.Postgres, processes: d.Processes, hooks: d.Hooks,
		primary: d.Primary, downloads: d.Downloads, estimates: d.Estimates, reserver: d.Reserver, witness: d.Witness, judge: d.Judge,
		events: d.Announce, diagnostics: d.Diagnostics, now: d.Now, log: d.Log, out: newOutbox(d.Announce, d.Observe, d.Log),
		nudge: make(chan struct{}, 1), asks: make(chan func(context.Context)), ready: make(chan struct{}),
	}
}

// Run reads the journal, goes on where it says, and keeps watch until ctx is done.
func (s *Service) Run(ctx context.Context) error {
	j, err := s.openLineage(ctx)
	if err != nil {
		return err
	}
	paused, err := s.loadPause(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.j, s.paused, s.resumed = j, paused, !resting(j.Phase)
	s.mu.Unlock()
	s.readyOnce.Do(func() { close(s.ready) })
	s.nameInLog(j)
	s.log.Info().Str("phase", string(j.Phase)).Msg("journal read")
	s.noteBases(ctx)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.out.run(ctx) })
	g.Go(func() error { return s.present(ctx) })
	g.Go(func() error { return s.engine(ctx) })
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Ready is closed once triggers can be journaled.
func (s *Service) Ready() <-chan struct{} { return s.ready }
