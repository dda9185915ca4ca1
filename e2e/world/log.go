package world

import (
	"encoding/json"
	"slices"
	"time"
)

// Line is one line of a sidecar's log.
type Line struct {
	At      time.Time
	Message string
	Fields  map[string]any
}

// Str is a field's text, "" when it is not there or no text.
func (l Line) Str(key string) string {
	s, _ := l.Fields[key].(string)
	return s
}

// Num is a field's number, 0 when it is not there or none.
func (l Line) Num(key string) float64 {
	f, _ := l.Fields[key].(float64)
	return f
}

// logged takes a line in: the sidecars' are JSON and are kept.
func (n *Node) logged(source, text string) {
	if tail := n.world.o.Tail; tail != nil {
		tail(n.Name, source, text)
	}
	l := Line{Fields: map[string]any{}}
	if source != Primary && source != Secondary || json.Unmarshal([]byte(text), &l.Fields) != nil {
		return
	}
	l.Message = l.Str("message")
	l.At, _ = time.Parse(time.RFC3339, l.Str("time")) // zero when there is none
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines[source] = append(n.lines[source], l)
}

// Log is what the node's sidecar of that kind has logged so far, in all its runs.
func (n *Node) Log(kind string) []Line {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.lines[kind])
}

// Logged are the lines with that message that come after the first skip lines.
func (n *Node) Logged(kind string, skip int, message string) []Line {
	return slices.DeleteFunc(n.Log(kind)[skip:], func(l Line) bool { return l.Message != message })
}
