package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"filippo.io/age"
)

// setup says how the sidecars' data path is used; zero values are its defaults.
type setup struct {
	part, window, chunk, flight int
	readers                     int
	// children has dd on both sides, where the sidecars have zfs send and zfs recv.
	children bool
	// embedded has the server in the writer's process.
	embedded bool
	// memory has the server keep the parts in memory instead of files.
	memory bool
	// sealed has the stream encrypted to the readers' key.
	sealed bool
	// env is added to the environment of writer and readers.
	env []string
	// delay is that of the line to the server, each way.
	delay time.Duration
	// discard has the readers drop what they get.
	discard bool
	// rate limits the source, in MiB/s.
	rate int
	// apart stores everything before anybody reads: "put" stops the clock when all
	// is stored, "get" starts it there.
	apart string
	// fetch reads with another kind of consumer, "" with stream.Reader.
	fetch string
	// pull is the size of fetch's pull requests in bytes.
	pull int
}

// path moves the file through a server.
func path(s setup) func(*lane) error {
	return func(l *lane) error {
		info, err := os.Stat(l.src)
		if err != nil {
			return err
		}
		t := &transfer{lane: l, setup: s, size: info.Size()}
		if !s.embedded {
			if t.server, err = l.startServer(); err != nil {
				return err
			}
		}
		if t.server != nil {
			t.url = t.server.url()
		}
		if s.sealed {
			if err := t.makeKey(); err != nil {
				return err
			}
		}
		if s.delay > 0 {
			stop, err := t.lengthen()
			if err != nil {
				return err
			}
			defer stop()
		}
		stopProfile := l.profileServer(t.server)
		err = t.run()
		stopProfile()
		if t.server != nil {
			err = errors.Join(err, l.stopServer(t.server, float64(t.size)))
		}
		return err
	}
}

// transfer is one upload and its readers.
type transfer struct {
	*lane
	setup
	size int64
	// recipient is the public key of the identity in the file.
	recipient, identity string
	server              *server
	url                 string

	writer *child
	hold   io.Closer // its end tells the writer that all is over
	says   *bufio.Reader
}

func (t *transfer) makeKey() error {
	k, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	t.recipient, t.identity = k.Recipient().String(), filepath.Join(t.work, "identity")
	return os.WriteFile(t.identity, []byte(k.String()+"\n"), 0o600)
}

// lengthen puts a line with a length before the server.
func (t *transfer) lengthen() (stop func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	p, err := t.worker("line", pipes{out: w}, "proxy", "-to", strings.TrimPrefix(t.url, "nats://"), "-delay", t.delay.String())
	if err != nil {
		return nil, err
	}
	addr, err := bufio.NewReader(r).ReadString('\n')
	t.url = "nats://" + strings.TrimSpace(addr)
	return func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		_ = t.wait(p) // what it relayed has been seen by others
	}, err
}

func (t *transfer) run() (err error) {
	t.begin()
	if err := t.startWriter(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.endWriter()) }()
	url, err := t.line()
	if err != nil {
		return err
	}
	rec, err := t.line()
	if err != nil {
		return err
	}
	if t.apart != "" {
		if _, err := t.line(); err != nil {
			return err
		}
		if t.apart == "put" {
			t.stop()
			return nil
		}
		t.begin()
	}
	defer t.stop()
	return t.read(url, rec)
}

func (t *transfer) line() (string, error) {
	l, err := t.says.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("the writer says nothing: %w", err)
	}
	return strings.TrimSpace(l), nil
}

func (t *transfer) startWriter() error {
	in, hold, err := os.Pipe()
	if err != nil {
		return err
	}
	says, out, err := os.Pipe()
	if err != nil {
		return err
	}
	t.hold, t.says = hold, bufio.NewReaderSize(says, 1<<20)
	window := t.window
	if t.apart != "" {
		window = int(t.size) + 128<<20
	}
	args := []string{
		"writer", "-from", t.src, "-readers", fmt.Sprint(max(1, t.readers)), "-part", fmt.Sprint(t.part), "-window", fmt.Sprint(window),
		"-chunk", fmt.Sprint(t.chunk), "-flight", fmt.Sprint(t.flight), "-rate", fmt.Sprint(t.rate),
		fmt.Sprintf("-children=%t", t.children), fmt.Sprintf("-linger=%t", t.apart != ""), fmt.Sprintf("-memory=%t", t.memory), "-recipient", t.recipient, "-profile", t.profilePath("writer"),
	}
	if t.server != nil {
		args = append(args, "-url", t.url)
	} else {
		args = append(args, "-store", filepath.Join(t.work, "store"))
	}
	t.writer, err = t.worker("writer", pipes{in: in, out: out, env: t.env}, args...)
	return err
}

func (t *transfer) endWriter() error { return errors.Join(t.hold.Close(), t.wait(t.writer)) }

// read starts all readers and waits for the last.
func (t *transfer) read(url, rec string) error {
	var readers []*child
	for n := range max(1, t.readers) {
		in, w, err := os.Pipe()
		if err != nil {
			return err
		}
		c, err := t.worker("reader", pipes{in: in, env: t.env}, t.readerArgs(n, url)...)
		if err != nil {
			return err
		}
		readers = append(readers, c)
		if _, err := io.WriteString(w, rec+"\n"); err != nil {
			return err
		}
		_ = w.Close() // the record is out
	}
	return t.wait(readers...)
}

func (t *transfer) readerArgs(n int, url string) []string {
	sink := t.sink
	if t.discard {
		sink = ""
	}
	if t.fetch != "" {
		return []string{"fetch", "-url", url, "-kind", t.fetch, "-pull", fmt.Sprint(t.pull), "-to", sink, "-profile", t.profilePath("reader")}
	}
	return []string{
		"reader", "-identity", t.identity, "-url", url, "-node", nodeName(n), "-to", sink, "-part", fmt.Sprint(t.part),
		fmt.Sprintf("-children=%t", t.children), "-profile", t.profilePath("reader"),
	}
}
