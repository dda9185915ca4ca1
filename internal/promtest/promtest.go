// Package promtest runs a real Prometheus within a test, and reads the dashboard as
// Prometheus is asked by it.
package promtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Server is a Prometheus on the loopback.
type Server struct{ url string }

// Start runs one that scrapes the targets, host:port each, and evaluates the rules
// in that file, until the test ends.
func Start(t *testing.T, interval time.Duration, rules string, targets []string) Server {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		if os.Getenv("PGRESYNC_TEST_MUST_RUN") != "" {
			t.Fatal("prometheus is not installed: scripts/prerequisites installs Debian's package")
		}
		t.Skip("prometheus is not installed: scripts/prerequisites installs Debian's package")
	}
	if rules, err = filepath.Abs(rules); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: %[1]s, scrape_timeout: %[1]s, evaluation_interval: %[1]s}\nrule_files: [%[2]q]\n"+
		"scrape_configs: [{job_name: pgresync, static_configs: [{targets: [%[3]s]}]}]\n", interval, rules, strings.Join(targets, ", "))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	var log bytes.Buffer
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, program, "--config.file="+config, "--storage.tsdb.path="+dir+"/data", "--web.listen-address="+address)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return Server{"http://" + address}
}

// freeAddress may be taken by another before Prometheus has it; then the test fails
// to start and says so.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// Series is one line of an answer.
type Series struct {
	Labels map[string]string
	Points []Point
}

// Point is one value at a time in seconds.
type Point struct{ At, Value float64 }

// Query evaluates an expression now.
func (s Server) Query(ctx context.Context, expr string) ([]Series, error) {
	return s.ask(ctx, "query", url.Values{"query": {expr}})
}

// Range evaluates an expression over a time.
func (s Server) Range(ctx context.Context, expr string, from, to time.Time, step time.Duration) ([]Series, error) {
	return s.ask(ctx, "query_range", url.Values{
		"query": {expr}, "start": {from.Format(time.RFC3339)}, "end": {to.Format(time.RFC3339)}, "step": {step.String()},
	})
}

func (s Server) ask(ctx context.Context, what string, values url.Values) ([]Series, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/api/v1/"+what+"?"+values.Encode(), http.NoBody)
	if err != nil {
		return nil, err
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	var reply struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Value  sample
				Values []sample
			}
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&reply); err != nil {
		return nil, err
	}
	if reply.Status != "success" {
		return nil, fmt.Errorf("%s", reply.Error)
	}
	var out []Series
	for _, line := range reply.Data.Result {
		if len(line.Values) == 0 {
			line.Values = []sample{line.Value}
		}
		points := make([]Point, len(line.Values))
		for i, v := range line.Values {
			points[i] = Point(v)
		}
		out = append(out, Series{line.Metric, points})
	}
	return out, nil
}

// sample is a pair of a time and a value that is written as text.
type sample Point

func (s *sample) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &[]any{&s.At, &text}); err != nil {
		return err
	}
	v, err := strconv.ParseFloat(text, 64)
	s.Value = v
	return err
}

// Until asks again until an expression yields so many series.
func (s Server) Until(t *testing.T, expr string, want int, patience time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := s.Query(ctx, expr)
		if err == nil && len(got) == want {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s yields %d series (%v), want %d", expr, len(got), err, want)
		case <-tick.C:
		}
	}
}
