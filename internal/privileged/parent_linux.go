package privileged

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"syscall"

	"github.com/pgresync/pgresync/internal/command"
)

// Run starts this program again as o.User, without privileges and without a way to
// get any, and runs its orders until it has ended. The end of ctx is handed on as
// SIGTERM. code is the exit code of the other part; err is set when it did not come
// to one.
func Run(ctx context.Context, o Options) (code int, err error) {
	credential, err := o.prepare(ctx)
	if err != nil {
		return 0, err
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return 0, err
	}
	conn, err := connection(ours)
	if err != nil {
		return 0, errors.Join(err, theirs.Close())
	}
	defer func() { _ = conn.Close() }() // both ends are done with it
	relay, err := newRelay(ctx, os.Getenv("NOTIFY_SOCKET"), int(credential.UID), int(credential.GID))
	if err != nil {
		return 0, errors.Join(err, theirs.Close())
	}
	defer relay.Close()
	cmd, err := o.command(ctx, credential, theirs, relay.path)
	if err != nil {
		return 0, errors.Join(err, theirs.Close())
	}
	child := startForLife(cmd)
	err = errors.Join(<-child.started, theirs.Close())
	if err != nil {
		return 0, fmt.Errorf("start the unprivileged part as %s: %w", o.User, err)
	}
	o.Log.Info().Str("user", o.User).Int("pid", cmd.Process.Pid).Msg("the unprivileged part runs; this process only acts on datasets for it")
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	served := make(chan error, 1)
	go func() {
		err := o.server(credential, cmd.Process.Pid).Serve(context.WithoutCancel(ctx), conn)
		// Without this end the other part is of no use, whatever the reason.
		_ = cmd.Process.Kill()
		served <- err
	}()
	err = <-child.ended
	_ = conn.Close() // ends Serve
	serveErr := <-served
	state := cmd.ProcessState
	switch status, ok := state.Sys().(syscall.WaitStatus); {
	case state.Exited() && serveErr == nil:
		return state.ExitCode(), nil
	case ok && status.Signal() == syscall.SIGTERM && ctx.Err() != nil:
		return 0, nil // it was told to end before it could listen
	}
	return 0, fmt.Errorf("%w: %w", ErrEnded, errors.Join(serveErr, err))
}

// socketPair keeps messages apart and knows its end.
func socketPair() (ours, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "unprivileged part"), os.NewFile(uintptr(fds[1]), "privileged part"), nil
}

func (o *Options) command(ctx context.Context, c *command.Credential, socket *os.File, notify string) (*exec.Cmd, error) {
	u, err := user.Lookup(o.User)
	if err != nil {
		return nil, err
	}
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	// It does not end with ctx: its end is asked for, and waited for.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), path, o.Args...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = environment(os.Environ(), u.HomeDir, u.Username, notify)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// The user's own groups and not root's: PostgreSQL, which may be its child, reads
		// its certificate's key by one on Debian.
		Credential: &syscall.Credential{Uid: c.UID, Gid: c.GID, Groups: c.Groups},
		// A killed sidecar must not go on without whom it asks.
		Pdeathsig: syscall.SIGKILL,
		// A signal of the terminal reaches it through us, once.
		Setpgid: true,
	}
	return cmd, nil
}

// lifelong is a child whose parent thread lives as long as it does.
type lifelong struct{ started, ended chan error }

// startForLife starts and waits for a child in a thread of its own. Its death would
// be its parent's to the kernel (prctl(2), PR_SET_PDEATHSIG), and it has given up for
// its children, before there is one, to gain privileges by any program
// (PR_SET_NO_NEW_PRIVS, which is inherited).
func startForLife(cmd *exec.Cmd) lifelong {
	l := lifelong{started: make(chan error, 1), ended: make(chan error, 1)}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := noNewPrivileges()
		if err == nil {
			err = cmd.Start()
		}
		l.started <- err
		if err == nil {
			l.ended <- cmd.Wait()
		}
	}()
	return l
}

func noNewPrivileges() error {
	const setNoNewPrivs = 38 // PR_SET_NO_NEW_PRIVS, prctl(2)
	if _, _, e := syscall.RawSyscall6(syscall.SYS_PRCTL, setNoNewPrivs, 1, 0, 0, 0, 0); e != 0 {
		return fmt.Errorf("give up new privileges: %w", e)
	}
	return nil
}
