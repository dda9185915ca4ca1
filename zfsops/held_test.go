package zfsops

import "testing"

func TestHoldsAreCountedOfTheDatasetItself(t *testing.T) {
	const out = "tank/p g@a\t1\ntank/p g@b\t0\ntank/p g@c\t2\ntank/p g@d\t-\ntank/p g/child@a\t1\n"
	got, err := parseHeld(out, "tank/p g")
	if err != nil || got != 2 {
		t.Errorf("got %d, %v; want 2 of the five: neither those without a hold nor a child's", got, err)
	}
	if _, err := parseHeld("no tab\n", "tank"); err == nil {
		t.Error("a row without a tab was accepted")
	}
}
