package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
)

// tone is how a line is to be read.
type tone int

const (
	plain  tone = iota
	good        // nothing to do
	notice      // in motion, or on purpose
	alarm       // a human is needed
)

var escapes = map[tone]string{good: "\x1b[32m", notice: "\x1b[33m", alarm: "\x1b[31m"}

// table is lines of cells. Colours are put around whole lines: an escape inside a
// cell would count as width.
type table struct {
	rows  [][]string
	tones []tone
}

func newTable(head ...string) *table {
	t := &table{}
	t.add(plain, head...)
	return t
}

func (t *table) add(c tone, cells ...string) {
	for i, cell := range cells {
		if cells[i] = oneLine(cell); cell == "" {
			cells[i] = "-"
		}
	}
	t.rows, t.tones = append(t.rows, cells), append(t.tones, c)
}

func (t *table) write(w io.Writer, colours bool) error {
	var b bytes.Buffer
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, cells := range t.rows {
		_, _ = fmt.Fprintln(tw, strings.Join(cells, "\t")) // a buffer takes everything
	}
	_ = tw.Flush()
	i := 0
	for line := range strings.Lines(b.String()) {
		line = strings.TrimRight(line, " \n")
		if err := paint(w, t.tones[i], line, colours); err != nil {
			return err
		}
		i++
	}
	return nil
}

func paint(w io.Writer, c tone, line string, colours bool) error {
	if e := escapes[c]; colours && e != "" {
		line = e + line + "\x1b[0m"
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

// oneLine keeps what came over the network from moving the cursor.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func size(n uint64) string { return humanize.IBytes(n) }

// span is a duration in its two largest units at most.
func span(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

func millis(ms int64) string { return span(time.Duration(ms) * time.Millisecond) }

// bar draws share of width.
func bar(share float64, width int) string {
	full := min(max(int(share*float64(width)), 0), width)
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", width-full) + "]"
}
