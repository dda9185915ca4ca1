package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// step is one of the parts that a test runs in the order of a list.
type step struct {
	name string
	test func(t part)
}

// part is what a part of a test has: a type of its own tells parts from helpers.
type part struct {
	*testing.T
	failures *failures
}

// failures are what the parts of one test failed with.
type failures struct{ said []string }

// sayAgain has what the parts fail with said once more as the test's last words: in an
// hour's output that is where one looks, and all that may be kept of it. It comes before
// what else cleans up.
func sayAgain(t *testing.T) *failures {
	t.Helper()
	f := &failures{}
	t.Cleanup(func() {
		for _, s := range f.said {
			t.Log(s)
		}
	})
	return f
}

// run is testing.T.Run for one of the steps.
func (f *failures) run(t *testing.T, s step) bool {
	t.Helper()
	return part{t, f}.Run(s.name, s.test)
}

// all runs the steps, those behind one that failed as well.
func (f *failures) all(t *testing.T, steps []step) {
	t.Helper()
	for _, s := range steps {
		if !f.run(t, s) {
			t.Logf("%q failed; what follows may fail because of it", s.name)
		}
	}
}

// Run is testing.T.Run for a part of the part.
func (p part) Run(name string, test func(t part)) bool {
	return p.T.Run(name, func(t *testing.T) { test(part{t, p.failures}) })
}

func (p part) Error(args ...any) {
	p.Helper()
	p.note(fmt.Sprintln(args...))
	p.T.Error(args...)
}

func (p part) Errorf(format string, args ...any) {
	p.Helper()
	p.note(fmt.Sprintf(format, args...))
	p.T.Errorf(format, args...)
}

func (p part) Fatal(args ...any) {
	p.Helper()
	p.note(fmt.Sprintln(args...))
	p.T.Fatal(args...)
}

func (p part) Fatalf(format string, args ...any) {
	p.Helper()
	p.note(fmt.Sprintf(format, args...))
	p.T.Fatalf(format, args...)
}

func (p part) note(what string) {
	p.failures.said = append(p.failures.said, p.Name()+" failed: "+strings.TrimSpace(what))
}
