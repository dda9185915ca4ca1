package command_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
)

// child is a program that does what its arguments say, one after the other.
func child() {
	args := os.Args[1:]
	next := func() string {
		a := args[0]
		args = args[1:]
		return a
	}
	for len(args) > 0 {
		switch verb := next(); verb {
		case "out":
			fmt.Fprint(os.Stdout, next())
		case "err":
			fmt.Fprint(os.Stderr, next())
		case "flood":
			flood(os.Stdout, next())
		case "flood-err":
			flood(os.Stderr, next())
		case "exit":
			os.Exit(number(next()))
		case "ready":
			fmt.Fprint(os.Stdout, "!")
		case "env":
			for _, e := range os.Environ() {
				fmt.Fprintln(os.Stdout, e)
			}
		case "cat":
			io.Copy(os.Stdout, os.Stdin)
		case "count":
			n, _ := io.Copy(io.Discard, os.Stdin)
			fmt.Fprint(os.Stderr, n)
		case "hang":
			// Without it the runtime would call a program of blocked goroutines a deadlock.
			signal.Notify(make(chan os.Signal, 1), syscall.SIGUSR1)
			select {}
		case "ignore-term":
			signal.Ignore(syscall.SIGTERM)
		case "term-exit":
			code := number(next())
			c := make(chan os.Signal, 1)
			signal.Notify(c, syscall.SIGTERM)
			<-c
			os.Exit(code)
		case "spawn-and-hang":
			spawn(&syscall.SysProcAttr{}, "hang")
		case "daemon":
			spawn(&syscall.SysProcAttr{Setsid: true}, "cat")
		}
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		os.Exit(99)
	}
	return n
}

func flood(w io.Writer, size string) {
	line := bytes.Repeat([]byte("x"), 1000)
	for left := number(size); left > 0; left -= len(line) {
		if _, err := w.Write(line[:min(left, len(line))]); err != nil {
			os.Exit(98)
		}
	}
}

// spawn starts a grandchild that shares our pipes.
func spawn(attr *syscall.SysProcAttr, script ...string) {
	exe, err := os.Executable()
	if err != nil {
		os.Exit(96)
	}
	c := exec.Command(exe, script...)
	c.Args[0] = os.Args[0]
	c.Stdin, c.Stdout, c.Stderr, c.SysProcAttr = os.Stdin, os.Stdout, os.Stderr, attr
	if err := c.Start(); err != nil {
		os.Exit(97)
	}
}
