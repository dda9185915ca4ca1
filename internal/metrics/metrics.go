package metrics

import (
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pgresync/pgresync/messages"
)

// Target is who is being measured; every metric of ours carries it, so that alerts
// name the node without any relabelling.
type Target struct {
	Cluster messages.ClusterName
	Node    messages.NodeName
	Sidecar string
	Version string
}

// Metrics has a registry of its own. Observe may be called from anywhere; so may
// the handler.
type Metrics struct {
	registry *prometheus.Registry
	events   *events
	probes   *probes
}

// New makes the metrics of one sidecar; sources are asked at each scrape, probes by
// Run.
func New(t Target, sources Sources, looks ...Probe) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), events: newEvents(t.Sidecar), probes: newProbes(looks)}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	ours := prometheus.WrapRegistererWith(prometheus.Labels{
		"cluster": string(t.Cluster), "node": string(t.Node), "sidecar": t.Sidecar,
	}, m.registry)
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: prefix + "build_info", Help: "1; the labels say which build runs.",
	}, []string{"version", "goversion"})
	build.WithLabelValues(t.Version, runtime.Version()).Set(1)
	ours.MustRegister(build, m.events, &asked{sources}, m.probes)
	return m
}

// Observe counts an event of this node. It does not block.
func (m *Metrics) Observe(e messages.Event) { m.events.observe(e) }

// Handler serves the metrics. A failing part leaves itself out, not the others.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4, Registry: m.registry,
	})
}

// Gather is for tests and for the documentation.
func (m *Metrics) Gather() prometheus.Gatherer { return m.registry }

const prefix = "pgresync_"

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

// Sample is one value of one metric.
type Sample struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	value  float64
	labels []string
}

func gauge[N number](d *prometheus.Desc, value N, labels ...string) Sample {
	return Sample{d, prometheus.GaugeValue, float64(value), labels}
}

func counter(d *prometheus.Desc, value uint64, labels ...string) Sample {
	return Sample{d, prometheus.CounterValue, float64(value), labels}
}

func truth(d *prometheus.Desc, is bool, labels ...string) Sample {
	if is {
		return gauge(d, 1, labels...)
	}
	return gauge(d, 0, labels...)
}

// oneOf is 1 for the value that holds and 0 for the others, so that a state can be
// alerted on as long as it lasts.
func oneOf[S ~string](d *prometheus.Desc, is S, all []S) []Sample {
	out := make([]Sample, 0, len(all))
	for _, s := range all {
		out = append(out, truth(d, s == is, string(s)))
	}
	return out
}

type number interface {
	~int | ~int64 | ~uint32 | ~uint64 | ~float64
}

func send(ch chan<- prometheus.Metric, samples []Sample) {
	for _, s := range samples {
		m, err := prometheus.NewConstMetric(s.desc, s.kind, s.value, s.labels...)
		if err != nil {
			m = prometheus.NewInvalidMetric(s.desc, err)
		}
		ch <- m
	}
}
