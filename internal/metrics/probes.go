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
	// probeEvery is the time between two looks, probePatience the longest one.
	probeEvery    = 15 * time.Second
	probePatience = 10 * time.Second
)

var (
	probeOK   = describe("probe_success", "1 when the last look at this was a success; when it is 0, its metrics are absent.", "probe")
	probeTook = describe("probe_duration_seconds", "How long the last look took.", "probe")
)

// probes keeps what each of them saw last.
type probes struct {
	all []Probe

	mu   sync.Mutex
	seen map[string]sight
}

type sight struct {
	samples []Sample
	took    time.Duration
	err     error
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
	began := time.Now()
	samples, err := p.Look(ctx)
	if err != nil {
		samples = nil // half of what is there would look like less being there
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[p.Name] = sight{samples, time.Since(began), err}
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
		send(ch, append([]Sample{truth(probeOK, last.err == nil, p.Name), gauge(probeTook, last.took.Seconds(), p.Name)}, last.samples...))
	}
}
