package bus_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var names = messages.Subjects{Cluster: "main"}

const patience = 15 * time.Second

// faults collects what OnAsyncError was told.
type faults struct {
	mu  sync.Mutex
	all []error
}

func (f *faults) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, err)
}

func (f *faults) count(target error) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, err := range f.all {
		if errors.Is(err, target) {
			n++
		}
	}
	return n
}

// wait returns when an error that wraps target was reported.
func (f *faults) wait(t *testing.T, target error) {
	t.Helper()
	natstest.Eventually(t, patience, "a report of "+target.Error(), func() error {
		if f.count(target) == 0 {
			return errors.New("none yet")
		}
		return nil
	})
}

func config(url string, node messages.NodeName) bus.Config {
	return bus.Config{Cluster: "main", Node: node, Sidecar: "primary", Version: "1.2.3", URLs: []string{url}, Provision: true}
}

// join connects a node and closes its bus with the test.
func join(t *testing.T, cfg bus.Config) *bus.Bus {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b, err := bus.Connect(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// node is join on a provisioned cluster.
func node(t *testing.T, s *natstest.Server, name messages.NodeName, change ...func(*bus.Config)) *bus.Bus {
	t.Helper()
	cfg := config(s.URL(), name)
	for _, f := range change {
		f(&cfg)
	}
	b := join(t, cfg)
	if err := b.Provision(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

func reportTo(f *faults) func(*bus.Config) {
	return func(c *bus.Config) { c.OnAsyncError = f.add }
}

// run starts a loop; the returned function ends it and waits.
func run(t *testing.T, loop func(ctx context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- loop(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := receive(t, ended, "the loop to end with its context"); err != nil {
			t.Errorf("the loop returned %v, want nil after its context ended", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// receive takes one value or fails.
func receive[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v := <-c:
		return v
	case <-timer.C:
		t.Fatalf("waited %s for %s", patience, what)
	}
	panic("unreachable")
}

func wantErr(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got error %v, want one that wraps %q", err, target)
	}
}
