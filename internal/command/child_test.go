package command_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

// child is a program that does what its arguments say, one after the other.
func child() {
	os.Exit(script(os.Args[1:])) //nolint:revive // this is the main function of a command
}

func script(args []string) (status int) {
	for len(args) > 0 {
		verb := args[0]
		args = args[1:]
		takes := verbs[verb]
		if takes.do == nil || len(args) < takes.args {
			return 99
		}
		if status, end := takes.do(args); end {
			return status
		}
		args = args[takes.args:]
	}
	return 0
}

// verb takes some arguments and says whether the program ends with it.
type verb struct {
	args int
	do   func(args []string) (status int, end bool)
}

var verbs = map[string]verb{
	"out":   {1, func(a []string) (int, bool) { fmt.Fprint(os.Stdout, a[0]); return 0, false }},
	"err":   {1, func(a []string) (int, bool) { fmt.Fprint(os.Stderr, a[0]); return 0, false }},
	"flood": {1, func(a []string) (int, bool) { return 98, flood(os.Stdout, a[0]) != nil }},
	"flood-err": {1, func(a []string) (int, bool) {
		return 98, flood(os.Stderr, a[0]) != nil
	}},
	"exit":  {1, func(a []string) (int, bool) { return number(a[0]), true }},
	"ready": {0, func([]string) (int, bool) { fmt.Fprint(os.Stdout, "!"); return 0, false }},
	"env": {0, func([]string) (int, bool) {
		fmt.Fprintln(os.Stdout, strings.Join(os.Environ(), "\n"))
		return 0, false
	}},
	"cat": {0, func([]string) (int, bool) {
		_, err := io.Copy(os.Stdout, os.Stdin)
		return 95, err != nil
	}},
	"count": {0, func([]string) (int, bool) {
		n, err := io.Copy(io.Discard, os.Stdin)
		fmt.Fprint(os.Stderr, n)
		return 94, err != nil
	}},
	"hang": {0, func([]string) (int, bool) {
		// Without it the runtime would call a program of blocked goroutines a deadlock.
		signal.Notify(make(chan os.Signal, 1), syscall.SIGUSR1)
		select {}
	}},
	"ignore-term": {0, func([]string) (int, bool) { signal.Ignore(syscall.SIGTERM); return 0, false }},
	// The handler is there before "!" is written.
	"ready-term-exit": {1, func(a []string) (int, bool) {
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Fprint(os.Stdout, "!")
		<-c
		return number(a[0]), true
	}},
	"spawn":  {0, func([]string) (int, bool) { return 97, spawn(&syscall.SysProcAttr{}, "hang") != nil }},
	"daemon": {0, func([]string) (int, bool) { return 97, spawn(&syscall.SysProcAttr{Setsid: true}, "cat") != nil }},
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 99
	}
	return n
}

func flood(w io.Writer, size string) error {
	line := bytes.Repeat([]byte("x"), 1000)
	for left := number(size); left > 0; left -= len(line) {
		if _, err := w.Write(line[:min(left, len(line))]); err != nil {
			return err
		}
	}
	return nil
}

// spawn starts a grandchild that shares our pipes.
func spawn(attr *syscall.SysProcAttr, script ...string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	c := exec.Command(exe, script...)
	c.Args[0] = os.Args[0]
	c.Stdin, c.Stdout, c.Stderr, c.SysProcAttr = os.Stdin, os.Stdout, os.Stderr, attr
	return c.Start()
}
