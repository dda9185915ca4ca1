package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// server is a nats-server as a process of its own, fresh for every repetition, so
// that its CPU seconds and its memory are those of one transfer.
type server struct {
	child           *child
	port, http, pro int
}

// serverConfig is what the documentation recommends; the limits of the store are
// out of the way.
const serverConfig = `
listen: "127.0.0.1:%d"
http: "127.0.0.1:%d"
prof_port: %d
write_deadline: "30s"
jetstream { store_dir: %q, max_file_store: 100G }
`

func (l *lane) startServer() (*server, error) {
	ports, err := freePorts(l.ctx, 3)
	if err != nil {
		return nil, err
	}
	s := &server{port: ports[0], http: ports[1], pro: ports[2]}
	conf := filepath.Join(l.work, "server.conf")
	text := fmt.Sprintf(serverConfig, s.port, s.http, s.pro, filepath.Join(l.work, "store"))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	if s.child, err = l.start("nats-server", pipes{}, l.server, "-c", conf); err != nil {
		return nil, err
	}
	return s, s.ready(l.ctx)
}

func (s *server) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", s.port) }

func (s *server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server did not come up: %w: %s", err, s.child.stderr.kept)
		case <-tick.C:
		}
	}
}

// traffic is what clients sent to the server and got from it, in bytes.
func (s *server) traffic(ctx context.Context) (in, out float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/varz", s.http), http.NoBody)
	if err != nil {
		return 0, 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	var varz struct {
		In  float64 `json:"in_bytes"`
		Out float64 `json:"out_bytes"`
	}
	err = json.NewDecoder(resp.Body).Decode(&varz)
	return varz.In, varz.Out, err
}

// stopServer ends the server and books what it cost, and how often the bytes
// travelled: once to the server, and once to each reader.
func (l *lane) stopServer(s *server, size float64) error {
	in, out, err := s.traffic(l.ctx)
	if err == nil {
		l.value("published x", in/size)
		l.value("delivered x", out/size)
	}
	_ = s.child.cmd.Process.Signal(syscall.SIGTERM)
	// Its exit status tells the signal.
	_ = l.wait(s.child)
	return err
}

func freePorts(ctx context.Context, n int) ([]int, error) {
	var ports []int
	for range n {
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = ln.Close() }() // all at the end, lest one be drawn twice
		if addr, ok := ln.Addr().(*net.TCPAddr); ok {
			ports = append(ports, addr.Port)
		}
	}
	return ports, nil
}
