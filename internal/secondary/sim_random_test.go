package secondary

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// fewChecks will do where the command line has no wish; make sim asks for thousands.
const fewChecks = "30"

// TestRandomBlows strikes several times in one story, also while the story
// recovers from an earlier blow. It runs as often as -rapid.checks says, and a
// failure prints the -rapid.seed, or the file, that repeats it.
func TestRandomBlows(t *testing.T) {
	wish := false
	flag.Visit(func(f *flag.Flag) { wish = wish || f.Name == "rapid.checks" })
	if !wish {
		must(t, flag.Set("rapid.checks", fewChecks))
	}
	all := struck()
	blows := []blow{blowKill, blowReset, blowCrash, blowFail, blowCut, blowStart}
	rapid.Check(t, func(rt *rapid.T) {
		s := rapid.SampledFrom(all).Draw(rt, "story")
		strikes := map[int]blow{}
		at := 0
		for range rapid.IntRange(1, 5).Draw(rt, "blows") {
			at += rapid.IntRange(1, 120).Draw(rt, "after")
			strikes[at] = rapid.SampledFrom(blows).Draw(rt, "blow")
		}
		unit, backwards := rapid.Bool().Draw(rt, "unit"), rapid.Bool().Draw(rt, "backwards")
		name := fmt.Sprintf("%s, unit %v, backwards %v", s.name, unit, backwards)
		for _, n := range slices.Sorted(maps.Keys(strikes)) {
			name += fmt.Sprintf(", %d %s", n, strikes[n])
		}
		w, problems := play(t, s, strikes, func(w *world) { w.bootStarts, w.bootBackwards = unit, backwards })
		if len(problems) > 0 {
			rt.Fatalf("%s:\n%s\n%s", name, strings.Join(problems, "\n"), w.describe())
		}
	})
}
