// Package natstest runs real NATS servers with JetStream inside a test.
//
// Servers listen on loopback, on ports the kernel chose, keep their files in
// the test's temporary directory and end with the test. They can be restarted
// on the same port and directory, because what a client does while its server
// is away is most of what there is to test. Real servers instead of fakes:
// every defect that shaped the data plane was found only on a real one.
package natstest

import (
	"net"
	"strconv"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ready bounds how long a server may take to start, or a cluster to elect.
const ready = 20 * time.Second

// Server is one embedded nats-server with JetStream. It is meant for the test
// goroutine; only URL, Client and Stream may be used from others.
type Server struct {
	t      testing.TB
	opts   natsserver.Options
	server *natsserver.Server
}

// Run starts a server and stops it when the test ends.
func Run(t testing.TB, change ...func(*natsserver.Options)) *Server {
	t.Helper()
	opts := natsserver.Options{
		ServerName: "natstest",
		Host:       "127.0.0.1",
		Port:       natsserver.RANDOM_PORT,
		JetStream:  true,
		StoreDir:   t.TempDir(),
		NoLog:      true,
		NoSigs:     true,
		MaxPayload: 1 << 20,
	}
	for _, f := range change {
		f(&opts)
	}
	s := &Server{t: t, opts: opts}
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Start starts a stopped server on the port and directory it had before.
func (s *Server) Start() {
	s.t.Helper()
	opts := s.opts // the server writes into its options; ours stay as they were
	server, err := natsserver.NewServer(&opts)
	if err != nil {
		s.t.Fatalf("start nats-server: %v", err)
	}
	server.Start()
	if !server.ReadyForConnections(ready) {
		server.Shutdown()
		s.t.Fatalf("nats-server on port %d takes no connections after %s", s.opts.Port, ready)
	}
	if addr, ok := server.Addr().(*net.TCPAddr); ok {
		s.opts.Port = addr.Port
	}
	s.server = server
}

// Stop shuts the server down and waits until it has ended. Stopping a stopped
// server does nothing.
func (s *Server) Stop() {
	if s.server == nil {
		return
	}
	s.server.Shutdown()
	s.server.WaitForShutdown()
	s.server = nil
}

// Restart stops the server and starts it again on the same port and directory.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.Start()
}

// URL is the address clients connect to; it stays the same over restarts.
func (s *Server) URL() string {
	return "nats://" + net.JoinHostPort(s.opts.Host, strconv.Itoa(s.opts.Port))
}

// NATS is the running server itself, for assertions about its insides; nil
// while it is stopped.
func (s *Server) NATS() *natsserver.Server { return s.server }

// Connect opens a connection that outlives restarts and is closed with the
// test. Options come after the defaults and override them.
func (s *Server) Connect(t testing.TB, opts ...nats.Option) *nats.Conn {
	t.Helper()
	return Connect(t, s.URL(), opts...)
}

// JetStream is Connect and a JetStream context on it.
func (s *Server) JetStream(t testing.TB, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	return JetStream(t, s.Connect(t, opts...))
}

// Connect opens a connection to url that reconnects for ever and quickly, and
// closes it with the test.
func Connect(t testing.TB, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	opts = append([]nats.Option{
		nats.Name(t.Name()),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(20 * time.Millisecond),
		nats.ReconnectJitter(0, 0),
		nats.Timeout(5 * time.Second),
	}, opts...)
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		t.Fatalf("connect to %s: %v", url, err)
	}
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	t.Cleanup(func() {
		if !nc.IsClosed() {
			nc.Close()
		}
		<-closed
	})
	return nc
}

// JetStream makes a JetStream context whose calls time out after a few
// seconds.
func JetStream(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(5*time.Second))
	if err != nil {
		t.Fatalf("jetstream: %v", err)
	}
	return js
}
