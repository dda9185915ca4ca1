package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
)

// catCat is the least that moving bytes between two processes costs.
func catCat(l *lane) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	out, err := os.Create(l.sink)
	if err != nil {
		return err
	}
	l.begin()
	a, err := l.start("cat", pipes{out: w}, "cat", l.src)
	if err != nil {
		return err
	}
	b, err := l.start("cat", pipes{in: r, out: out}, "cat")
	if err != nil {
		return err
	}
	err = l.wait(a, b)
	l.stop()
	return err
}

// sourceAlone reads the file and drops it.
func sourceAlone(l *lane) error {
	l.begin()
	c, err := l.worker("source", pipes{}, "pump", "-from", l.src)
	if err != nil {
		return err
	}
	err = l.wait(c)
	l.stop()
	return err
}

// sinkAlone writes as many bytes to a file.
func sinkAlone(l *lane) error {
	info, err := os.Stat(l.src)
	if err != nil {
		return err
	}
	l.begin()
	c, err := l.worker("sink", pipes{}, "pump", "-make", fmt.Sprint(info.Size()), "-to", l.sink)
	if err != nil {
		return err
	}
	err = l.wait(c)
	l.stop()
	return err
}

// tcp is two processes and a connection on loopback; hashed has both compute
// SHA-256, as any transfer that is verified has to.
func tcp(hashed bool) func(*lane) error {
	return func(l *lane) error {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		hash := fmt.Sprintf("-hash=%t", hashed)
		l.begin()
		recv, err := l.worker("receiver", pipes{out: w}, "pump", "-listen", "-to", l.sink, hash)
		if err != nil {
			return err
		}
		addr, err := bufio.NewReader(r).ReadString('\n')
		if err := errors.Join(err, r.Close()); err != nil {
			return errors.Join(err, l.wait(recv))
		}
		send, err := l.worker("sender", pipes{}, "pump", "-from", l.src, "-dial", strings.TrimSpace(addr), hash)
		if err != nil {
			return err
		}
		err = l.wait(send, recv)
		l.stop()
		return err
	}
}
