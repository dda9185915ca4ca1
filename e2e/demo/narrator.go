package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// narrator prints one line for each thing that happens, with the seconds since the
// start and the node's name.
type narrator struct {
	began  time.Time
	colour bool

	mu  sync.Mutex
	out io.Writer
}

// newNarrator colours when out is a terminal, or when CLICOLOR_FORCE says so: the
// lab's output is a file, whatever its reader is.
func newNarrator(out io.Writer, getenv func(string) string) *narrator {
	n := &narrator{began: time.Now(), out: out, colour: getenv("CLICOLOR_FORCE") != ""}
	if f, ok := out.(*os.File); ok && getenv("NO_COLOR") == "" {
		info, err := f.Stat()
		n.colour = n.colour || err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return n
}

// hues tell the nodes apart.
var hues = map[string]int{"db1": 33, "db2": 36, "db3": 35, "": 32}

// on says what happens on a node; "" is the demonstration itself.
func (n *narrator) on(node, format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	at := time.Since(n.began).Seconds()
	if n.colour {
		_, _ = fmt.Fprintf(n.out, "\x1b[2m%6.1fs\x1b[0m \x1b[1;%dm%-4s\x1b[0m %s\n", at, hues[node], node, text)
		return
	}
	_, _ = fmt.Fprintf(n.out, "%6.1fs %-4s %s\n", at, node, text)
}

// heading begins a chapter.
func (n *narrator) heading(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.colour {
		text = "\x1b[1m" + text + "\x1b[0m"
	}
	_, _ = fmt.Fprintf(n.out, "\n%s\n", text)
}
