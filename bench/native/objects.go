package main

import "os"

// objects is the stock way: nats object put, and nats object get afterwards, for
// an object can be read only when all of it is there.
func objects(l *lane) error {
	info, err := os.Stat(l.src)
	if err != nil {
		return err
	}
	s, err := l.startServer()
	if err != nil {
		return err
	}
	do := func(name string, args ...string) error {
		c, err := l.start(name, pipes{}, append([]string{l.nats, "--server", s.url(), "--timeout", "10m", "object"}, args...)...)
		if err != nil {
			return err
		}
		return l.wait(c)
	}
	if err := do("nats object add", "add", "bench", "--storage", "file", "--replicas", "1"); err != nil {
		return err
	}
	l.begin()
	if err := do("nats object put", "put", "bench", l.src, "--name", "file", "--no-progress", "--force"); err != nil {
		return err
	}
	if err := do("nats object get", "get", "bench", "file", "-O", l.sink, "--no-progress", "--force"); err != nil {
		return err
	}
	l.stop()
	return l.stopServer(s, float64(info.Size()))
}
