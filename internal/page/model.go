package page

import (
	"cmp"
	"slices"
	"time"

	"github.com/pgresync/pgresync/internal/operator"
	"github.com/pgresync/pgresync/messages"
)

// model is what the page shows; its JSON form is what the browser is sent.
type model struct {
	Cluster messages.ClusterName `json:"cluster"`
	// Node and Sidecar are who serves the page.
	Node      messages.NodeName       `json:"node"`
	Sidecar   string                  `json:"sidecar"`
	Version   string                  `json:"version"`
	Publisher messages.NodeName       `json:"publisher,omitempty"`
	Nodes     []operator.Row          `json:"nodes"`
	Uploads   []messages.StreamRecord `json:"uploads"`
	Events    []line                  `json:"events"`
	// Notes say why something is not shown.
	Notes []string `json:"notes,omitempty"`
}

// line is an event as the page lists it.
type line struct {
	At   time.Time          `json:"at"`
	Type messages.EventType `json:"type"`
	Node messages.NodeName  `json:"node"`
	Text string             `json:"text"`
}

// mostEvents bounds the list.
const mostEvents = 50

// build puts the facts together. What presence says is some seconds old; the latest
// event of a node is not, and wins where it is the newer one.
func build(id Identity, f *operator.Facts, j *journal) model {
	j.into(f)
	m := model{
		Cluster: id.Cluster, Node: id.Node, Sidecar: id.Sidecar, Version: id.Version,
		Nodes: operator.Rows(f), Uploads: running(f.Streams), Events: j.lines(),
	}
	if m.Nodes == nil {
		m.Nodes = []operator.Row{} // the browser wants a list
	}
	if f.Lease != nil {
		m.Publisher = f.Lease.Node
	}
	return m
}

func running(all []messages.StreamRecord) []messages.StreamRecord {
	out := []messages.StreamRecord{}
	for _, r := range all {
		if r.State == messages.StreamRunning {
			r.Consumer = "" // whoever knows it may read in its owner's place
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b messages.StreamRecord) int { return cmp.Compare(a.Stream, b.Stream) })
	return out
}
