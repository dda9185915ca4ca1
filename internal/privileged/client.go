package privileged

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/pgresync/pgresync/internal/command"
	"github.com/pgresync/pgresync/messages"
)

var _ command.Executor = (*Client)(nil)

// Client is the unprivileged part's end. It is safe for concurrent use.
type Client struct {
	conn    *net.UnixConn
	writing sync.Mutex
	gone    chan struct{} // closed when nothing is answered any more
	// patience is for what only explains something; the next step does not wait for it.
	patience time.Duration

	mu      sync.Mutex
	last    uint64
	pending map[uint64]*execution
	err     error // why gone is closed
}

// NewClient speaks over conn until it is closed.
func NewClient(conn *net.UnixConn) *Client {
	c := &Client{conn: conn, gone: make(chan struct{}), patience: 3 * time.Second, pending: map[uint64]*execution{}}
	go c.listen()
	return c
}

// Close ends what still runs.
func (c *Client) Close() {
	_ = c.conn.Close() // nothing is buffered
	<-c.gone
}

// Context ends with the privileged part.
func (c *Client) Context(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-c.gone:
			cancel(c.err)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

func (c *Client) listen() {
	in := newReceiver(c.conn)
	for {
		var r reply
		files, err := in.next(&r)
		closeAll(files) // none is expected
		if err != nil {
			c.lost(err)
			return
		}
		c.mu.Lock()
		x := c.pending[r.ID]
		delete(c.pending, r.ID)
		c.mu.Unlock()
		if x != nil {
			x.end(r)
		}
	}
}

func (c *Client) lost(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = fmt.Errorf("the privileged part is gone: %w: %w", messages.ErrUnavailable, err)
	close(c.gone)
	for _, x := range c.pending {
		x.err = c.err
		close(x.done)
	}
	c.pending = nil
}

// Start asks for a command.
func (c *Client) Start(path string, args []string, stdin, stdout, stderr *os.File) (command.Execution, error) {
	r := request{Program: path, Stdin: stdin != nil, Stdout: stdout != nil, Stderr: stderr != nil}
	for _, a := range args {
		r.Args = append(r.Args, []byte(a))
	}
	var files []*os.File
	for _, f := range []*os.File{stdin, stdout, stderr} {
		if f != nil {
			files = append(files, f)
		}
	}
	x, err := c.ask(r, files...)
	if err != nil {
		return nil, err
	}
	return x, nil
}

// UsersOf asks who keeps mount points busy. Where nobody can tell soon, nobody is named.
func (c *Client) UsersOf(mountpoints []string) []string {
	x, err := c.ask(request{Users: mountpoints})
	if err != nil {
		return nil
	}
	timer := time.NewTimer(c.patience)
	defer timer.Stop()
	select {
	case <-x.done:
		return x.reply.Users
	case <-timer.C:
		return nil // listen forgets it with the answer
	}
}

func (c *Client) ask(r request, files ...*os.File) (*execution, error) {
	c.mu.Lock()
	if c.pending == nil {
		defer c.mu.Unlock()
		return nil, c.err
	}
	c.last++
	r.ID = c.last
	x := &execution{client: c, id: r.ID, done: make(chan struct{})}
	c.pending[r.ID] = x
	c.mu.Unlock()
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := send(c.conn, r, files...); err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.pending, r.ID)
		return nil, fmt.Errorf("ask the privileged part: %w", err)
	}
	return x, nil
}

// execution is one request that is under way.
type execution struct {
	client *Client
	id     uint64
	done   chan struct{}
	reply  reply // valid once done is closed
	err    error
}

func (x *execution) end(r reply) {
	x.reply = r
	switch {
	case r.Refused != "":
		x.err = fmt.Errorf("%w by the privileged part: %s", messages.ErrRefused, r.Refused)
	case r.Signal != "":
		x.err = &command.SignalError{Signal: r.Signal}
	case r.Failed != "":
		x.err = errors.New(r.Failed)
	}
	close(x.done)
}

// Done is closed when the command has ended.
func (x *execution) Done() <-chan struct{} { return x.done }

// Result is how.
func (x *execution) Result() (int, error) {
	if x.err != nil {
		return -1, x.err
	}
	return x.reply.Code, nil
}

// Terminate has the command ended; if nobody hears it, it ends with the socket.
func (x *execution) Terminate() {
	x.client.writing.Lock()
	defer x.client.writing.Unlock()
	_ = send(x.client.conn, request{ID: x.id, Cancel: true})
}
