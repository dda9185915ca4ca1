package secondary

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"testing"
)

var every = flag.Int("sim.every", 193, "strike at every n-th point of a story; 1 is all of them")

// TestEveryPointOfEveryStory strikes once, at each point. One case is repeated by
// its name: go test -run 'TestEveryPoint/increment/kill.the.sidecar/117$'.
func TestEveryPointOfEveryStory(t *testing.T) {
	for _, s := range struck() {
		t.Run(s.name, func(t *testing.T) {
			points := told(t, s, nil, nil)
			for i, v := range variants() {
				t.Run(v.name, func(t *testing.T) {
					for at := 1 + i%*every; at <= points; at += *every {
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
