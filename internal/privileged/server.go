package privileged

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/command"
)

const (
	// maxOrders bounds what is under way at once; a sidecar has four or five.
	maxOrders = 32
	// replyTimeout is for a peer that does not read.
	replyTimeout = 10 * time.Second
)

// Server runs orders for the other end of a socket.
type Server struct {
	Policy Policy
	// UID and GID are of the unprivileged part, to whom new empty datasets are given.
	UID, GID int
	// UsersOf names the processes that keep mount points busy.
	UsersOf func(mountpoints []string) []string
	Log     zerolog.Logger
	// find is where a program is; nil is command.LookPath. A test has none run.
	find func(name string) (string, error)

	// changing is held alone while an order is checked against what is there.
	changing sync.RWMutex

	mu      sync.Mutex
	running map[uint64]context.CancelFunc
}

// Serve runs what is asked for until the other end is closed, which is no error, or
// breaks the protocol. Then it ends what still runs, and waits for it.
func (s *Server) Serve(ctx context.Context, conn *net.UnixConn) error {
	ctx, cancel := context.WithCancel(ctx)
	var orders sync.WaitGroup
	defer orders.Wait()
	defer cancel()
	s.running = map[uint64]context.CancelFunc{}
	var writing sync.Mutex
	answer := func(r reply) {
		writing.Lock()
		defer writing.Unlock()
		// Who does not take an answer is told by the end of the connection.
		if err := errors.Join(conn.SetWriteDeadline(time.Now().Add(replyTimeout)), send(conn, r)); err != nil {
			_ = conn.Close() // it is of no use any more
		}
	}
	in := newReceiver(conn)
	for {
		var r request
		files, err := in.next(&r)
		if err != nil {
			if errors.Is(err, errMessage) {
				return err
			}
			return nil // the other end is gone
		}
		if r.Cancel {
			closeAll(files)
			s.cancel(r.ID)
			continue
		}
		octx, err := s.begin(ctx, &r, files)
		if err != nil {
			closeAll(files)
			return err
		}
		if octx == nil {
			closeAll(files)
			answer(reply{ID: r.ID, Code: -1, Refused: fmt.Sprintf("%d commands are under way", maxOrders)})
			continue
		}
		orders.Go(func() {
			out := s.handle(octx, &r, files)
			closeAll(files) // before the answer: its pipes have ended then
			s.cancel(r.ID)
			answer(out)
		})
	}
}

// begin enters a request. Its id must be a new one, and its files what it says.
func (s *Server) begin(ctx context.Context, r *request, files []*os.File) (context.Context, error) {
	if len(files) != r.files() {
		return nil, fmt.Errorf("%w: %d files, %d announced", errMessage, len(files), r.files())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.running[r.ID]; there {
		return nil, fmt.Errorf("%w: id %d is in use", errMessage, r.ID)
	}
	if len(s.running) >= maxOrders {
		return nil, nil //nolint:nilnil // too many is not a broken protocol
	}
	ctx, cancel := context.WithCancel(ctx)
	s.running[r.ID] = cancel
	return ctx, nil
}

// cancel ends an order; it is no error if there is none.
func (s *Server) cancel(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel, ok := s.running[id]; ok {
		cancel()
		delete(s.running, id)
	}
}

func (s *Server) handle(ctx context.Context, r *request, files []*os.File) reply {
	out := reply{ID: r.ID, Code: -1}
	if len(r.Users) > 0 {
		for _, place := range r.Users {
			if !s.Policy.Place(place) {
				return s.refuse(out, []string{"users", place}, errors.New("nothing of ours is mounted there"))
			}
		}
		out.Users = s.UsersOf(r.Users)
		return out
	}
	args := make([]string, len(r.Args))
	for i, a := range r.Args {
		args[i] = string(a)
	}
	argv := append([]string{r.Program}, args...)
	if err := pipes(files); err != nil {
		return s.refuse(out, argv, err)
	}
	o, err := s.Policy.Check(r.Program, args)
	if err != nil {
		return s.refuse(out, argv, err)
	}
	defer s.lock(&o)()
	place, err := s.ready(ctx, &o)
	if err != nil {
		return s.refuse(out, argv, err)
	}
	out = ended(out, s.run(ctx, &o, r, files))
	if out.Code == 0 && place != "" && o.Args[0] == "mount" {
		if err := own(place, s.UID, s.GID); err != nil {
			s.Log.Warn().Err(err).Str("dataset", string(o.Placed)).Msg("a new dataset could not be given to its user")
		}
	}
	return out
}

// refuse is worth a line: the other part does not ask for what it may not have.
func (s *Server) refuse(out reply, argv []string, err error) reply {
	var b strings.Builder
	for _, a := range argv {
		fmt.Fprintf(&b, "%q ", clip(a))
		if b.Len() > 1000 {
			b.WriteString("… ")
			break
		}
	}
	s.Log.Warn().Err(err).Str("command", strings.TrimSpace(b.String())).Msg("refused to the unprivileged part")
	out.Refused = err.Error()
	return out
}

// pipes: what root writes goes nowhere else, whatever the file is that came along.
// A write to some files of /proc counts as the writer's own.
func pipes(files []*os.File) error {
	for _, f := range files {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if info.Mode()&os.ModeNamedPipe == 0 {
			return fmt.Errorf("a file of mode %s came along: want a pipe", info.Mode())
		}
		if err := syscall.SetNonblock(int(f.Fd()), false); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) lock(o *Order) (unlock func()) {
	switch {
	case o.Alone:
		s.changing.Lock()
		return s.changing.Unlock
	case o.Changes:
		s.changing.RLock()
		return s.changing.RUnlock
	}
	return func() {}
}

func (s *Server) run(ctx context.Context, o *Order, r *request, files []*os.File) error {
	c, err := s.program(o.Program, o.Args)
	if err != nil {
		return err
	}
	take := func(there bool) (f *os.File) {
		if there {
			f, files = files[0], files[1:]
		}
		return f
	}
	if stdin := take(r.Stdin); stdin != nil {
		c.Stdin = stdin
	}
	stdout := take(r.Stdout)
	return c.Attach(ctx, stdout, take(r.Stderr))
}

func (s *Server) program(name string, args []string) (command.Command, error) {
	find := s.find
	if find == nil {
		find = command.LookPath
	}
	path, err := find(name)
	return command.Command{Path: path, Args: args, Dir: "/"}, err
}

// ended says how a command ended, without what it wrote.
func ended(out reply, err error) reply {
	if err == nil {
		out.Code = 0
		return out
	}
	var exit *exec.ExitError
	e, ok := errors.AsType[*command.Error](err)
	switch {
	case ok && e.ExitCode >= 0:
		out.Code = e.ExitCode
	case errors.As(err, &exit):
		out.Signal = "unknown"
		if st, ok := exit.Sys().(syscall.WaitStatus); ok {
			out.Signal = st.Signal().String()
		}
	default:
		out.Failed = clip(err.Error())
	}
	return out
}
