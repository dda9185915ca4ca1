package secondary

import (
	"flag"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"testing"
)

var every = flag.Int("sim.every", 997, "strike at every n-th point of a story; 1 is all of them")

// firstPoint is where a variant of a story is struck first: another place for each,
// so that a sample is spread over all of them.
func firstPoint(points int, names ...string) int {
	h := fnv.New32a()
	for _, name := range names {
		_, _ = h.Write([]byte(name))
	}
	return 1 + int(h.Sum32())%max(min(*every, points), 1)
}

// TestEveryPointOfEveryStory strikes once, at each point. One case is repeated by
// its name: go test -run 'TestEveryPoint/increment/kill.the.sidecar/117$'.
func TestEveryPointOfEveryStory(t *testing.T) {
	for _, s := range struck() {
		t.Run(s.name, func(t *testing.T) {
			points := told(t, s, nil, nil)
			for _, v := range variants() {
				t.Run(v.name, func(t *testing.T) {
					for at := firstPoint(points, s.name, v.name); at <= points; at += *every {
						t.Run(strconv.Itoa(at), func(t *testing.T) { told(t, s, map[int]blow{at: v.blow}, v.tune) })
					}
				})
			}
		})
	}
}

// struck are the stories that bear blows.
func struck() []story {
	return slices.DeleteFunc(stories(), func(s story) bool { return s.calm })
}

type variant struct {
	name string
	blow blow
	tune func(*world)
}

func variants() []variant {
	var out []variant
	for _, b := range []blow{blowKill, blowCrash, blowFail, blowCut, blowStart} {
		out = append(out, variant{string(b), b, nil})
	}
	for _, unit := range []bool{false, true} {
		for _, backwards := range []bool{false, true} {
			out = append(out, variant{
				fmt.Sprintf("%s, unit %v, mounts backwards %v", blowReset, unit, backwards), blowReset,
				func(w *world) { w.bootStarts, w.bootBackwards = unit, backwards },
			})
		}
	}
	return out
}
