package command

import (
	"maps"
	"path/filepath"
	"sync"
)

// Tally counts the children that this process ran of one program.
type Tally struct {
	// Running are there now; Started and Failed count since the process began, Failed
	// those too that could not be started.
	Running, Started, Failed uint64
}

// tallies are of the process, as its children are: whoever runs one is counted,
// without having to hand anything on.
type tallies struct {
	mu sync.Mutex
	of map[string]Tally
}

var children = &tallies{of: map[string]Tally{}}

// Tallies are the counts of all programs by their base names.
func Tallies() map[string]Tally {
	children.mu.Lock()
	defer children.mu.Unlock()
	return maps.Clone(children.of)
}

func (t *tallies) change(path string, f func(*Tally)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	name := filepath.Base(path)
	n := t.of[name]
	f(&n)
	t.of[name] = n
}

func (t *tallies) started(path string, err error) {
	t.change(path, func(n *Tally) {
		if err != nil {
			n.Failed++
			return
		}
		n.Started++
		n.Running++
	})
}

func (t *tallies) ended(path string, err error) {
	t.change(path, func(n *Tally) {
		n.Running--
		if err != nil {
			n.Failed++
		}
	})
}
