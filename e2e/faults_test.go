package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pgresync/pgresync/e2e/world"
	"github.com/pgresync/pgresync/internal/progtest"
)

// slow makes a transfer to the node last for about 20 s.
const slow = "8mbit"

// midStream triggers a full resync of n over a slow network and waits until the
// big dataset's stream is on its way: received in part, and the sender blocked
// behind the window.
func (s *stage) midStream(t testing.TB, n *world.Node) (mark int) {
	t.Helper()
	must(t, n.Throttle(t.Context(), slow))
	t.Cleanup(func() { _ = n.Unthrottle(context.WithoutCancel(t.Context())) }) // it may be gone already
	m := s.trigger(t, n, `{"full":true}`)
	must(t, world.Until(t.Context(), "a transfer in its middle", patience, func(context.Context) (bool, string) {
		send, err := s.db1.Find("zfs", "send")
		receive, rerr := n.Find("zfs", "receive")
		big := false
		for _, pid := range receive {
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			big = big || strings.Contains(string(line), "/ts1")
		}
		return len(send) > 0 && big, fmt.Sprint(send, receive, err, rerr, phase(n))
	}))
	return m
}

// cutSendIsNeverApplied: a zfs send that dies half way looks like an end to those
// who do not look at its exit status.
func (s *stage) cutSendIsNeverApplied(t part) {
	s.ready(t)
	m := s.midStream(t, s.db2)
	must(t, s.db1.Signal(t.Context(), syscall.SIGKILL, "zfs", "send"))
	must(t, s.db2.Unthrottle(t.Context()))
	s.until(t, s.db2, m, patience, "proof", proven)
	s.wellWithin(t)
	s.lineageIsPristine(t, s.db2)
}

func (s *stage) secondaryKilledMidReceive(t part) {
	s.ready(t)
	m := s.midStream(t, s.db3)
	sends := len(s.db1.Log(world.Primary))
	s.secondary[s.db3].Kill9()
	must(t, s.db3.Unthrottle(t.Context()))
	s.secondary[s.db3] = s.sidecar(t, s.db3, world.Secondary, s.env(s.db3))
	s.until(t, s.db3, m, patience, "proof", proven)
	for _, l := range s.db1.Logged(world.Primary, sends, "zfs send starts") {
		t.Logf("send after the kill: %s, resumed %v", l.Str("target"), l.Fields["resumed"])
	}
	s.wellWithin(t)
	s.lineageIsPristine(t, s.db3)
}

// secondaryKilledInTheSwitch is a taste of what TestFaults does in every row of the table.
func (s *stage) secondaryKilledInTheSwitch(t part) {
	for _, at := range []string{"switching", "proving"} {
		t.Run(at, func(t part) {
			s.ready(t)
			m := s.trigger(t, s.db2, "")
			s.until(t, s.db2, m, patience, "the phase "+at, entered(at))
			s.secondary[s.db2].Kill9()
			s.secondary[s.db2] = s.sidecar(t, s.db2, world.Secondary, s.env(s.db2))
			s.wellWithin(t)
		})
	}
}

// primaryKilledInTheBracket: a wrapper around zfs holds the snapshot command back,
// so that the sidecar dies with the backup mode open, and the snapshot is made
// after its death.
func (s *stage) primaryKilledInTheBracket(t part) {
	s.ready(t)
	dir := t.TempDir()
	hold, reached := filepath.Join(dir, "hold"), filepath.Join(dir, "reached")
	script := fmt.Sprintf(`#!/bin/sh
if [ "$1" = snapshot ] && [ -e %[1]s ]; then
	touch %[2]s
	while [ -e %[1]s ]; do sleep 0.1; done
fi
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec zfs "$@"
`, hold, reached)
	must(t, progtest.Write(filepath.Join(dir, "zfs"), []byte(script), 0o755))
	must(t, os.WriteFile(hold, nil, 0o644))
	must(t, s.primary.Stop())
	s.startPrimary(t, map[string]string{"PATH": dir + ":" + os.Getenv("PATH")})
	_, err := s.w.NATS(t.Context(), "pub", "pgresync.main.trigger.snapshot", "")
	must(t, err)
	must(t, world.Until(t.Context(), "the bracket to be open", patience, func(context.Context) (bool, string) {
		_, err := os.Stat(reached)
		return err == nil, fmt.Sprint(err)
	}))
	if got := sql(t, s.db1, backups); got == "0" {
		t.Error("no backup session, though the bracket is open: the test does not test what it should")
	}
	s.primary.Kill9()
	must(t, world.Until(t.Context(), "the end of the backup mode", patience, func(ctx context.Context) (bool, string) {
		got, err := s.db1.SQL(ctx, backups)
		return err == nil && got == "0", fmt.Sprint(got, err)
	}))
	must(t, os.Remove(hold))
	must(t, world.Until(t.Context(), "the orphaned snapshot", patience, func(ctx context.Context) (bool, string) {
		// Of the live dataset itself: those of its children never say that they are complete.
		got, err := s.db1.Run(ctx, "zfs", "get", "-H", "-d", "1", "-t", "snapshot", "-o", "name,value", "pgresync:state", s.db1.Live())
		return strings.Contains(got, "bracketing"), fmt.Sprint(got, err)
	}))
	s.ready(t)
	m := s.trigger(t, s.db2, "")
	s.until(t, s.db2, m, patience, "proof", proven)
	s.wellWithin(t)
	s.nothingIncomplete(t)
}

// backups counts the primary sidecar's sessions: one of them holds the backup mode
// open, and PostgreSQL leaves the mode when that session ends.
const backups = "select count(*) from pg_stat_activity where application_name = 'pgresync'"

// nothingIncomplete waits until all snapshots are complete: one may just be taken.
func (s *stage) nothingIncomplete(t testing.TB) {
	t.Helper()
	must(t, world.Until(t.Context(), "all snapshots to be complete", patience, func(ctx context.Context) (bool, string) {
		got, err := s.db1.Run(ctx, "zfs", "get", "-H", "-t", "snapshot", "-d", "1", "-o", "name,value", "pgresync:state", s.db1.Live())
		for line := range strings.SplitSeq(got, "\n") {
			if name, state, _ := strings.Cut(line, "\t"); strings.Contains(name, "@pgresync-") && state != "complete" {
				return false, name + " is " + state
			}
		}
		return err == nil, fmt.Sprint(err)
	}))
}

func (s *stage) primaryKilledInTheUpload(t part) {
	s.ready(t)
	m := s.midStream(t, s.db3)
	s.primary.Kill9()
	must(t, s.db3.Unthrottle(t.Context()))
	s.startPrimary(t, nil)
	s.until(t, s.db3, m, patience, "proof", proven)
	s.wellWithin(t)
	s.nothingIncomplete(t)
	s.lineageIsPristine(t, s.db3)
}
