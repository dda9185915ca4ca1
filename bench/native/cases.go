package main

import (
	"fmt"
	"time"

	"github.com/pgresync/pgresync/bench/report"
)

// testCase is one row to be.
type testCase struct {
	row *report.Row
	do  func(*lane) error
	// intact: the sink has to be as long as the source afterwards.
	intact bool
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

// The defaults that the sweeps vary one at a time.
const (
	thePart, theWindow, theChunk, theFlight = 16 * mib, 192 * mib, 512 * kib, 16 * mib
)

func (b *bench) cases() []testCase {
	var out []testCase
	add := func(group, name string, size bytes, params map[string]float64, intact bool, do func(*lane) error) {
		if params == nil {
			params = map[string]float64{}
		}
		params["file"] = float64(size)
		out = append(out, testCase{row: &report.Row{Group: group, Name: name, Bytes: int64(size), Params: params}, do: do, intact: intact})
	}
	whole, sweep := b.size, b.sweep
	for _, c := range comparison {
		add("comparison", c.name, whole, nil, c.intact, c.do)
	}
	for _, kind := range []string{"put", "get"} {
		add("apart", kind+" alone", whole, nil, false, path(setup{apart: kind, discard: true}))
	}
	for _, c := range fetches {
		add("consumer", c.name, whole, map[string]float64{"pull MiB": float64(c.pull / mib)}, false,
			path(setup{apart: "get", discard: true, fetch: c.kind, pull: c.pull}))
	}
	for _, v := range []string{"GOGC=100", "GOGC=75", "GOGC=50", "GOMEMLIMIT=160MiB", "GOMEMLIMIT=128MiB"} {
		add("memory", v, whole, nil, true, path(setup{env: []string{v}}))
	}
	for _, v := range []string{"GOGC=100", "GOMEMLIMIT=256MiB", "GOMEMLIMIT=192MiB", "GOMEMLIMIT=176MiB", "GOMEMLIMIT=160MiB", "GOMEMLIMIT=144MiB"} {
		for _, n := range []int{8, 16} {
			add("memory, embedded", fmt.Sprintf("%s, parts of %d MiB", v, n), whole, nil, true, path(setup{env: []string{v}, part: n * mib, embedded: true}))
		}
	}
	for _, n := range []int{1, 2, 4, 8} {
		add("readers", fmt.Sprintf("%d readers", n), sweep, map[string]float64{"readers": float64(n)}, false, path(setup{readers: n, discard: true}))
	}
	for _, n := range []int{2, 4, 8, 16, 32, 64} {
		add("part", fmt.Sprintf("parts of %d MiB", n), sweep, map[string]float64{"part MiB": float64(n)}, true, path(setup{part: n * mib, window: max(theWindow, 2*n*mib)}))
	}
	for _, n := range []int{64, 96, 128, 192, 384} {
		add("window", fmt.Sprintf("window of %d MiB", n), sweep, map[string]float64{"window MiB": float64(n)}, true, path(setup{window: n * mib}))
	}
	for _, n := range []int{32, 64, 128, 256, 512, 1020} {
		add("chunk", fmt.Sprintf("chunks of %d KiB", n), sweep, map[string]float64{"chunk KiB": float64(n)}, true, path(setup{chunk: n * kib}))
	}
	for _, n := range []int{1, 2, 4, 8, 16, 32} {
		add("flight", fmt.Sprintf("%d MiB in flight", n), sweep, map[string]float64{"in flight MiB": float64(n)}, true, path(setup{flight: n * mib}))
	}
	const delay = 5 * time.Millisecond
	for _, n := range []int{4, 8, 16, 32, 64} {
		add("part, 10 ms", fmt.Sprintf("parts of %d MiB", n), sweep, map[string]float64{"part MiB": float64(n)}, true,
			path(setup{part: n * mib, window: max(theWindow, 2*n*mib), delay: delay}))
		add("part, 80 ms", fmt.Sprintf("parts of %d MiB", n), sweep, map[string]float64{"part MiB": float64(n)}, true,
			path(setup{part: n * mib, window: max(theWindow, 2*n*mib), delay: 8 * delay}))
	}
	for _, kind := range []string{"put", "get"} {
		add("apart, 10 ms", kind+" alone", sweep, nil, false, path(setup{apart: kind, discard: true, delay: delay}))
	}
	for _, n := range []int{1, 2, 4, 8, 16, 32} {
		add("flight, 10 ms", fmt.Sprintf("put, %d MiB in flight", n), sweep, map[string]float64{"in flight MiB": float64(n)}, false,
			path(setup{flight: n * mib, apart: "put", delay: delay}))
	}
	for _, n := range []int{1, 2, 4, 8, 16} {
		add("pull, 10 ms", fmt.Sprintf("get, two requests of %d MiB", n), sweep, map[string]float64{"pull MiB": float64(n)}, false,
			path(setup{apart: "get", fetch: "pull", pull: n * mib, delay: delay, discard: true}))
	}
	add("pull, 10 ms", "get, ordered push consumer", sweep, nil, false, path(setup{apart: "get", fetch: "push", delay: delay, discard: true}))
	add("pull, 10 ms", "get, batched direct get", sweep, nil, false, path(setup{apart: "get", fetch: "direct", delay: delay, discard: true}))
	for _, n := range []int{50, 100, 200, 300, 400} {
		add("paced", fmt.Sprintf("source of %d MiB/s", n), sweep, map[string]float64{"source MiB/s": float64(n)}, true, path(setup{rate: n}))
	}
	return out
}

var comparison = []struct {
	name   string
	do     func(*lane) error
	intact bool
}{
	{"source alone", sourceAlone, false},
	{"sink alone", sinkAlone, true},
	{"cat | cat", catCat, true},
	{"TCP", tcp(false), true},
	{"TCP, SHA-256 at both ends", tcp(true), true},
	{"nats object put, then get", objects, true},
	{"pgresync", path(setup{}), true},
	{"pgresync, dd at both ends", path(setup{children: true}), true},
	{"pgresync, encrypted to one reader", path(setup{sealed: true}), true},
	{"pgresync, parts in memory", path(setup{memory: true}), true},
	{"pgresync, embedded server", path(setup{embedded: true}), true},
}

var fetches = []struct {
	name, kind string
	pull       int
}{
	{"two pull requests of 16 MiB, one inbox", "pull", 16 * mib},
	{"two pull requests of 8 MiB, one inbox", "pull", 8 * mib},
	{"two pull requests of 4 MiB, one inbox", "pull", 4 * mib},
	{"two pull requests of 1 MiB, one inbox", "pull", 1 * mib},
	{"one pull request for the whole part", "whole", 0},
	{"ordered pull consumer", "ordered", 0},
	{"ordered push consumer", "push", 0},
	{"batched direct get", "direct", 0},
}
