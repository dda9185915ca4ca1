package metrics

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Probe looks at something that costs a command, a query or a request, and is
// therefore not asked by a scrape.
type Probe struct {
	Name string
	Look func(ctx context.Context) ([]Sample, error)
}

const (
	// probeEvery is the time between two looks, probePatience the longest one, if it
	// can be ended: a zfs command that hangs in the kernel cannot. After probeStale
	// what was seen last is no sight of now.
	probeEvery    = 15 * time.Second
	probePatience = 10 * time.Second
	probeStale    = probeEvery + 2*probePatience
)

var (
	probeOK   = describe("probe_success", "1 when the last look at this was a success; when it is 0, its metrics are absent.", "probe")
	probeTook = describe("probe_duration_seconds", "How long the last look took, or has taken by now when it hangs.", "probe")
)

// probes keeps what each of them saw last.
type probes struct {
	all []Probe

	mu   sync.Mutex
	seen map[string]sight
}

type sight struct {
	samples []Sample
	// began is when the look under way, or the last one, did; took is the last one's.
	began time.Time
	took  time.Duration
	// ok and done are the last look's; before the first has ended nothing is told.
	ok, done bool
}

func newProbes(all []Probe) *probes { return &probes{all: all, seen: map[string]sight{}} }

// Run looks at everything, and again every quarter of a minute, until ctx is done.
// Probes do not wait for each other: one that hangs costs its own metrics only.
func (m *Metrics) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, p := range m.probes.all {
		wg.Go(func() { m.probes.keepLooking(ctx, p) })
	}
	wg.Wait()
	return ctx.Err()
}

func (s *probes) keepLooking(ctx context.Context, p Probe) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		s.look(ctx, p)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *probes) look(ctx context.Context, p Probe) {
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	began := s.begin(p.Name)
	samples, err := p.Look(ctx)
	if err != nil {
		samples = nil // half of what is there would look like less being there
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[p.Name] = sight{samples, began, time.Since(began), err == nil, true}
}

func (s *probes) begin(name string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.seen[name]
	last.began = time.Now()
	s.seen[name] = last
	return last.began
}

// now is the sight as it is told: a look that hangs is one that failed.
func (g sight) now() (told sight, known bool) {
	if since := time.Since(g.began); since > probeStale {
		return sight{took: since}, true
	}
	return g, g.done
}

// Describe describes nothing: which metrics there are depends on what was seen.
func (*probes) Describe(chan<- *prometheus.Desc) {}

// Collect shows what was seen last.
func (s *probes) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.all {
		last, looked := s.seen[p.Name]
		if !looked {
			continue
		}
		if told, known := last.now(); known {
			send(ch, append([]Sample{truth(probeOK, told.ok, p.Name), gauge(probeTook, told.took.Seconds(), p.Name)}, told.samples...))
		}
	}
}
