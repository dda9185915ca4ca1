package pgops

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/messages"
)

// as does something with the rights of another user, in a thread of its own.
func as(t *testing.T, uid int, do func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := effective(uid)
		if err == nil {
			do()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// The unprivileged part may not see what others' processes are.
func TestAUnitOfAnotherUserIsLeftAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can have processes of several users")
	}
	const other = 64001 // who needs no account
	postgres, _ := pgtest.Owner(t)
	dir := pgtest.TempDir(t)
	for uid, refused := range map[uint32]bool{uint32(postgres): false, other: true, 0: false} {
		child := exec.CommandContext(t.Context(), "cat")
		child.Dir, child.SysProcAttr = "/", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		in, err := child.StdinPipe()
		if err == nil {
			err = child.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		s := Server{options: ServerOptions{DataDir: dir}, control: unit{name: "pg.service"}}
		as(t, postgres, func() {
			err = s.isNotOurs(claim{runs: true, pid: child.Process.Pid})
		})
		if errors.Is(err, messages.ErrRefused) != refused || !refused && err != nil {
			t.Errorf("process of user %d: got %v, want it refused: %v", uid, err, refused)
		}
		_ = in.Close()
		_ = child.Wait()
	}
}
