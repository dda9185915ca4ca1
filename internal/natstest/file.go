package natstest

import (
	"os"
	"path/filepath"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// RunText is RunFile with a file that has this text.
func RunText(t testing.TB, text string) *Server {
	t.Helper()
	return RunFile(t, textFile(t, text))
}

// RunFile starts a server from a configuration file, which the real server's
// parser reads. Only address, store and logging are the test's.
func RunFile(t testing.TB, path string) *Server {
	t.Helper()
	opts := parse(t, path)
	return Run(t, func(o *natsserver.Options) {
		own := *o
		*o = *opts
		o.Host, o.Port, o.StoreDir, o.NoLog, o.NoSigs = own.Host, own.Port, own.StoreDir, own.NoLog, own.NoSigs
		if o.ServerName == "" {
			o.ServerName = own.ServerName
		}
	})
}

func textFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func parse(t testing.TB, path string) *natsserver.Options {
	t.Helper()
	opts, err := natsserver.ProcessConfigFile(path)
	if err != nil {
		t.Fatalf("nats-server's configuration %s: %v", path, err)
	}
	return opts
}

// Configure is what a stopped server is started with the next time.
func (s *Server) Configure(t testing.TB, text string) {
	t.Helper()
	opts := parse(t, textFile(t, text))
	opts.ServerName, opts.Host, opts.Port, opts.StoreDir = s.opts.ServerName, s.opts.Host, s.opts.Port, s.opts.StoreDir
	opts.NoLog, opts.NoSigs = s.opts.NoLog, s.opts.NoSigs
	s.opts = *opts
}
