// Package nats_test starts real servers from the configurations in this directory
// and holds every role against them: what it needs works, what it must not do is
// refused.
package nats_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"go.uber.org/goleak"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// site is a server with one of the configurations, and the files of its users.
type site struct {
	url    string
	dir    string
	faults faults
	login  func(user string) (bus func(*bus.Config), client []nats.Option)
}

var (
	includes     = regexp.MustCompile(`include "([a-z-]+)-([a-z]+)-([a-z0-9]+)\.conf"`)
	placeholders = regexp.MustCompile(`@([a-z0-9-]+)@`)
)

// newSite renders a configuration as its comments say, with keys for everyone.
func newSite(t *testing.T, file string) *site {
	t.Helper()
	w := &site{dir: t.TempDir()}
	ca := natstest.NewAuthority(t, w.dir)
	ca.Issue(t, w.dir, "server")
	cert, key := ca.Issue(t, w.dir, "client")
	text := strings.ReplaceAll(load(t, file), "@DIR@", w.dir)
	for _, m := range includes.FindAllStringSubmatch(text, -1) {
		store(t, filepath.Join(w.dir, m[1]+"-"+m[2]+"-"+m[3]+".conf"), render(t, m[1], m[2], m[3]))
	}
	text = placeholders.ReplaceAllStringFunc(text, func(p string) string {
		pair := must(nkeys.CreateUser())
		store(t, filepath.Join(w.dir, strings.Trim(p, "@")+".seed"), string(must(pair.Seed())))
		return must(pair.PublicKey())
	})
	conf := filepath.Join(w.dir, "nats.conf")
	store(t, conf, text)
	w.url = natstest.RunFile(t, conf).URL()
	w.login = func(user string) (func(*bus.Config), []nats.Option) {
		seed := filepath.Join(w.dir, user+".seed")
		option := must(nats.NkeyOptionFromSeed(seed))
		authority := filepath.Join(w.dir, "ca.pem")
		return func(c *bus.Config) {
			c.NKeyFile, c.CAFile, c.CertFile, c.KeyFile = seed, authority, cert, key
		}, []nats.Option{option, nats.RootCAs(authority), nats.ClientCert(cert, key)}
	}
	return w
}

func render(t *testing.T, role, cluster, node string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "./render", role, cluster, node).Output()
	if err != nil {
		t.Fatalf("render %s %s %s: %v", role, cluster, node, err)
	}
	return string(out)
}

// who splits a user, role-cluster-node.
func who(user string) (role string, cluster messages.ClusterName, node messages.NodeName) {
	parts := strings.Split(user, "-")
	n := len(parts)
	return strings.Join(parts[:n-2], "-"), messages.ClusterName(parts[n-2]), messages.NodeName(parts[n-1])
}

// bus connects a sidecar; every denied permission is a failure of the test.
func (w *site) bus(t *testing.T, user string, provision bool) *bus.Bus {
	t.Helper()
	return w.busWith(t, user, func(c *bus.Config) { c.Provision = provision })
}

func (w *site) busWith(t *testing.T, user string, change func(*bus.Config)) *bus.Bus {
	t.Helper()
	role, cluster, node := who(user)
	cfg := bus.Config{
		Cluster: cluster, Node: node, Sidecar: role, Version: "1.2.3", URLs: []string{w.url},
		OnAsyncError: func(err error) { w.faults.add(user, err) },
	}
	set, _ := w.login(user)
	set(&cfg)
	change(&cfg)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b, err := bus.Connect(ctx, cfg)
	if err != nil {
		t.Fatalf("connect %s: %v", user, err)
	}
	t.Cleanup(b.Close)
	return b
}

// client is a plain connection, as the nats command or an attacker would have it.
func (w *site) client(t *testing.T, user string) *nats.Conn {
	t.Helper()
	_, cluster, node := who(user)
	_, opts := w.login(user)
	return natstest.Connect(t, w.url, append(opts, nats.CustomInboxPrefix("_INBOX_"+string(cluster)+"_"+string(node)), nats.PermissionErrOnSubscribe(true))...)
}

// provision makes a cluster's streams from the files for the provisioner.
func (w *site) provision(t *testing.T, user string) {
	t.Helper()
	_, cluster, _ := who(user)
	js := natstest.JetStream(t, w.client(t, user))
	files, err := filepath.Glob("streams/*.json")
	if err != nil || len(files) != 5 {
		t.Fatalf("streams/*.json are %v (%v), want 5", files, err)
	}
	for _, file := range files {
		var cfg jetstream.StreamConfig
		decode(t, strings.ReplaceAll(load(t, file), "@CLUSTER@", string(cluster)), &cfg)
		if _, err := js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatalf("create the stream of %s: %v", file, err)
		}
	}
}

// faults collects denied permissions.
type faults struct {
	mu  sync.Mutex
	all []error
}

func (f *faults) add(user string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if errors.Is(err, messages.ErrPermission) {
		f.all = append(f.all, errors.Join(errors.New(user), err))
	}
}

func (f *faults) check(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.all) > 0 {
		t.Errorf("permissions that are needed were denied: %v", errors.Join(f.all...))
	}
}

// loop runs until the test ends.
func loop(t *testing.T, run func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("a loop returned %v", err)
		}
	})
}

func load(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func store(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

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
