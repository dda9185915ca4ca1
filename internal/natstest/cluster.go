package natstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Nodes is a cluster of servers.
type Nodes struct {
	t       testing.TB
	Servers []*Server
}

// Cluster starts n servers that form one JetStream cluster, and waits until
// they have a meta leader that knows them all. They stop when the test ends.
func Cluster(t testing.TB, n int) *Nodes {
	t.Helper()
	c := &Nodes{t: t}
	ports := freePorts(t, n)
	var routes []*url.URL
	for _, port := range ports {
		routes = append(routes, &url.URL{Scheme: "nats", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))})
	}
	for i, port := range ports {
		c.Servers = append(c.Servers, Run(t, func(o *natsserver.Options) {
			o.ServerName = fmt.Sprintf("n%d", i+1)
			o.Cluster = natsserver.ClusterOpts{Name: "natstest", Host: "127.0.0.1", Port: port, PoolSize: -1}
			o.Routes = routes
		}))
	}
	Eventually(t, 3*ready, "a meta leader with all peers", func() error {
		for _, s := range c.Servers {
			if s.server.JetStreamIsLeader() && len(s.server.JetStreamClusterPeers()) == n {
				return nil
			}
		}
		return errors.New("no leader")
	})
	return c
}

// URL lists all servers, for one nats.Connect. A client stays with the first
// server that answers.
func (c *Nodes) URL() string {
	urls := make([]string, 0, len(c.Servers))
	for _, s := range c.Servers {
		urls = append(urls, s.URL())
	}
	return strings.Join(urls, ",")
}

// JetStream connects to any of the servers.
func (c *Nodes) JetStream(t testing.TB, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	return JetStream(t, Connect(t, c.URL(), opts...))
}

// Leader is the server that leads a stream; it waits for one.
func (c *Nodes) Leader(js jetstream.JetStream, stream string) *Server {
	c.t.Helper()
	var leader *Server
	Eventually(c.t, ready, "a leader of "+stream, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s, err := js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		if info := s.CachedInfo().Cluster; info != nil {
			leader = c.byName(info.Leader)
		}
		if leader == nil {
			return errors.New("no leader")
		}
		return nil
	})
	return leader
}

func (c *Nodes) byName(name string) *Server {
	for _, s := range c.Servers {
		if s.opts.ServerName == name {
			return s
		}
	}
	return nil
}

// StepDown makes a stream's leader give up its office, once; the stream must
// have replicas for another to take it.
func (c *Nodes) StepDown(js jetstream.JetStream, stream string) {
	c.t.Helper()
	Eventually(c.t, ready, "the leader of "+stream+" to step down", func() error {
		msg, err := js.Conn().Request("$JS.API.STREAM.LEADER.STEPDOWN."+stream, nil, time.Second)
		if err != nil {
			return err
		}
		if !strings.Contains(string(msg.Data), `"success":true`) {
			return errors.New(string(msg.Data))
		}
		return nil
	})
}

// freePorts draws ports for the routes: a JetStream cluster refuses to start
// without knowing its routes, so they cannot be chosen by the servers.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	ports := make([]int, 0, n)
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }() // all at the end, lest one be drawn twice
		if addr, ok := l.Addr().(*net.TCPAddr); ok {
			ports = append(ports, addr.Port)
		}
	}
	return ports
}
