package natstest

import (
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

const serverRole = "nats-server"

// serverArg is what a server process is told.
type serverArg struct {
	Port     int
	StoreDir string
}

// serve is the server's process.
func serve(arg string) error {
	var a serverArg
	if err := json.Unmarshal([]byte(arg), &a); err != nil {
		return err
	}
	server, err := natsserver.NewServer(&natsserver.Options{
		ServerName: "natstest", Host: "127.0.0.1", Port: a.Port, JetStream: true, StoreDir: a.StoreDir,
		NoLog: true, MaxPayload: 1 << 20,
	})
	if err != nil {
		return fmt.Errorf("start nats-server: %w", err)
	}
	server.Start()
	server.WaitForShutdown()
	return nil
}

// Process is a nats-server in a process of its own, so that it can be killed. The
// test program has to call Roles.
type Process struct {
	t     testing.TB
	arg   serverArg
	child *Child
}

// StartProcess starts one and waits until it takes connections.
func StartProcess(t testing.TB) *Process {
	t.Helper()
	p := &Process{t: t, arg: serverArg{Port: freePorts(t, 1)[0], StoreDir: t.TempDir()}}
	p.Start()
	return p
}

// Start starts a killed server on the port and directory it had before.
func (p *Process) Start() {
	p.t.Helper()
	arg, err := json.Marshal(p.arg)
	if err != nil {
		p.t.Fatal(err)
	}
	p.child = StartChild(p.t, serverRole, string(arg))
	Eventually(p.t, ready, "the nats-server process to take connections", func() error {
		select {
		case <-p.child.Done():
			p.t.Fatalf("the nats-server process ended: %v", p.child.Err())
		default:
		}
		c, err := net.Dial("tcp", p.address())
		if err == nil {
			_ = c.Close()
		}
		return err
	})
}

// Kill is kill -9.
func (p *Process) Kill() { p.child.Kill() }

// Freeze stops the server without closing its connections, as a host that hangs
// or a network that drops packets does.
func (p *Process) Freeze() { p.child.signal(syscall.SIGSTOP) }

// Thaw lets it go on.
func (p *Process) Thaw() { p.child.signal(syscall.SIGCONT) }

// URL is the address clients connect to; it stays the same.
func (p *Process) URL() string { return "nats://" + p.address() }

func (p *Process) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.arg.Port)) }
