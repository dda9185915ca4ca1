package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgresync/pgresync/e2e/world"
)

// TestCompose brings docker-compose.test.yml up with an image made of this very
// machine, and resyncs a standby in it. It needs dockerd, which the lab has.
func TestCompose(t *testing.T) {
	bin, out := requireLab(t)
	for _, name := range []string{"docker-compose.test.yml", "compose-node", "nats-server"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			t.Fatalf("%s is not in %s; see the target test-e2e of the Makefile", name, bin)
		}
	}
	c := &compose{bin: bin, out: out}
	c.startDocker(t)
	c.importImage(t)
	t.Cleanup(func() { c.compose(t, patience, "down", "--timeout", "60") })
	t.Cleanup(func() { c.keepLogs(t) })
	// As docker-compose.test.yml says; a standby is healthy when it streams.
	c.compose(t, 20*time.Minute, "up", "--detach", "--no-build", "--wait")
	for _, node := range []string{"standby1", "standby2"} {
		c.hasRows(t, node)
	}
	before := c.proven(t, "standby1")
	must(t, world.Until(t.Context(), "the trigger to be published", patience, func(context.Context) (bool, string) {
		_, err := c.run(patience, "exec", "-T", "nats", "nats", "pub", "pgresync.main.trigger.resync.standby1", "")
		return err == nil, fmt.Sprint(err)
	}))
	must(t, world.Until(t.Context(), "standby1 to be resynced by a trigger", patience, func(context.Context) (bool, string) {
		return c.proven(t, "standby1") > before, ""
	}))
	c.hasRows(t, "standby1")
}

type compose struct{ bin, out string }

func (c *compose) file() string { return filepath.Join(c.bin, "docker-compose.test.yml") }

func (c *compose) command(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "PGRESYNC_TEST_IMAGE=pgresync-test", "PGRESYNC_TEST_POOLS=/var/tmp/pgresync-test")
	return cmd
}

// run runs docker-compose within limit, and returns what it printed.
func (c *compose) run(limit time.Duration, args ...string) (string, error) {
	// Not the test's context: it is done when the clean-up runs.
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	argv := append([]string{"docker-compose", "--ansi", "never", "-f", c.file()}, args...)
	text, err := c.command(ctx, argv...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, text)
	}
	return string(text), nil
}

// compose is run, and the end of the test when it fails.
func (c *compose) compose(t testing.TB, limit time.Duration, args ...string) string {
	t.Helper()
	text, err := c.run(limit, args...)
	must(t, err)
	return text
}

// keepLogs leaves what the containers printed among the artifacts, and shows the
// end of it after a failure.
func (c *compose) keepLogs(t testing.TB) {
	t.Helper()
	text := c.compose(t, patience, "logs", "--no-color", "--timestamps")
	must(t, os.WriteFile(filepath.Join(c.out, "compose.log"), []byte(text), 0o644))
	if t.Failed() {
		t.Logf("%s\n%s", c.compose(t, patience, "ps", "--all"), text[max(0, len(text)-20000):])
	}
}

func (c *compose) startDocker(t testing.TB) {
	t.Helper()
	log, err := os.Create(filepath.Join(c.out, "dockerd.log"))
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := c.command(ctx, "dockerd", "--data-root", "/var/lib/docker")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	must(t, cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was told to end
		_ = log.Close()
	})
	must(t, world.Until(t.Context(), "dockerd to answer", patience, func(ctx context.Context) (bool, string) {
		err := c.docker(ctx, http.MethodGet, "/_ping", nil)
		return err == nil, fmt.Sprint(err)
	}))
}

// docker makes one request to the daemon: the lab has no docker command, whose
// package would be larger than all that is needed of it.
func (c *compose) docker(ctx context.Context, method, path string, body io.Reader) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", "/var/run/docker.sock")
	}}}
	req, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, body)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode >= 300 || strings.Contains(string(text), `"errorDetail"`)) {
		err = fmt.Errorf("docker %s %s: %s: %s", method, path, resp.Status, text)
	}
	return err
}

// importImage makes the image of what this machine has, without what a node does
// not need: fetching one is not possible everywhere, and importing is slow.
func (c *compose) importImage(t testing.TB) {
	t.Helper()
	const script = `set -eu
stage=$(mktemp -d); trap 'rm -rf "$stage"' EXIT
mkdir -p "$stage/compose/bin" "$stage/tmp" "$stage/run" "$stage/proc" "$stage/sys" "$stage/dev" "$stage/srv" "$stage/root" "$stage/var/tmp"
ln -s /run "$stage/var/run"
chmod 1777 "$stage/tmp" "$stage/var/tmp"
cp "$1/primary-sidecar" "$1/secondary-sidecar" "$1/nats" "$1/nats-server" "$stage/compose/bin/"
cp "$1/compose-node" "$stage/compose/node"
chmod +x "$stage"/compose/bin/* "$stage/compose/node"
tar -c -C / --exclude=usr/lib/modules --exclude=usr/share/doc --exclude='usr/lib/*/libLLVM*' --exclude='usr/bin/docker*' \
  --exclude='usr/sbin/dockerd' --exclude='usr/bin/containerd*' --exclude='usr/libexec/docker' --exclude='usr/sbin/runc' --exclude='usr/bin/runc' \
  --exclude=usr/src --exclude=usr/local --exclude=usr/lib/gcc --exclude='usr/lib/firmware' \
  bin sbin lib lib64 usr etc -C "$stage" compose tmp run proc sys dev srv root var`
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	tar := c.command(ctx, "bash", "-c", script, "image", c.bin)
	var complaints strings.Builder
	tar.Stderr = &complaints
	out, err := tar.StdoutPipe()
	must(t, err)
	must(t, tar.Start())
	path := "ENV PATH=/usr/lib/postgresql/17/bin:/compose/bin:/usr/bin:/usr/sbin:/bin:/sbin"
	err = c.docker(ctx, http.MethodPost, "/images/create?fromSrc=-&repo=pgresync-test&tag=latest&changes="+url.QueryEscape(path), out)
	if werr := tar.Wait(); err != nil || werr != nil {
		t.Fatalf("import the image: %v, %v\n%s", err, werr, complaints.String())
	}
}

// hasRows checks that the node answers with the primary's rows.
func (c *compose) hasRows(t testing.TB, node string) {
	t.Helper()
	got := c.compose(t, patience, "exec", "-T", node, "psql", "-h", "/run/postgresql", "-U", "postgres", "-Atqc", "SELECT count(*) FROM rows")
	if got = strings.TrimSpace(got); got != "20000" {
		t.Errorf("%s has %q rows, want 20000", node, got)
	}
}

// proven counts the resyncs of a node that went well.
func (c *compose) proven(t testing.TB, node string) int {
	t.Helper()
	return strings.Count(c.compose(t, patience, "logs", "--no-color", node), `"on":"proven"`)
}
