package main

import (
	"math"
	"slices"

	"github.com/pgresync/pgresync/bench/account"
	"github.com/pgresync/pgresync/bench/report"
)

func rates(title string, rows []*report.Row) string {
	b := bars{title: title}
	for _, r := range rows {
		if len(r.Good()) > 0 {
			s := r.Rate()
			b.rows = append(b.rows, bar{name: r.Name, parts: []float64{s.Median}, low: s.Min, high: s.Max})
		}
	}
	return b.draw()
}

func cpu(title string, rows []*report.Row) string {
	b := bars{title: title}
	for _, r := range rows {
		for _, n := range r.Names() {
			if !slices.Contains(b.legend, n) {
				b.legend = append(b.legend, n)
			}
		}
	}
	for _, r := range rows {
		one := bar{name: r.Name, parts: make([]float64, len(b.legend))}
		for i, n := range b.legend {
			c, _ := r.Process(n)
			one.parts[i] = c.Median / (float64(r.Bytes) / (1 << 30))
		}
		b.rows = append(b.rows, one)
	}
	return b.draw()
}

func swept(title, param string, rows []*report.Row) string {
	l := lines{title: "MiB/s by " + title, x: title, y: "MiB/s"}
	var s series
	for _, r := range rows {
		if _, ok := r.Params[param]; ok && len(r.Good()) > 0 {
			v := r.Rate()
			s.points = append(s.points, point{r.Params[param], v.Median, v.Min, v.Max})
		}
	}
	l.series = []series{s}
	return l.draw()
}

func readers(rows []*report.Row) string {
	l := lines{title: "One upload, several readers: MiB/s", x: "readers", y: "MiB/s"}
	sum, each := series{name: "all together"}, series{name: "each"}
	for _, r := range rows {
		if len(r.Good()) == 0 {
			continue
		}
		n, v := r.Params["readers"], r.Rate()
		each.points = append(each.points, point{n, v.Median, v.Min, v.Max})
		sum.points = append(sum.points, point{n, n * v.Median, n * v.Min, n * v.Max})
	}
	l.series = []series{sum, each}
	return l.draw()
}

func bySize(title string, rows []*report.Row, of func(*report.Row) report.Spread) string {
	l := lines{title: title + ", by size of the database", x: "size of the database, MiB", y: title}
	for _, r := range rows {
		if len(r.Good()) == 0 {
			continue
		}
		i := slices.IndexFunc(l.series, func(s series) bool { return s.name == r.Name })
		if i < 0 {
			i = len(l.series)
			l.series = append(l.series, series{name: r.Name})
		}
		if v := of(r); v.Median > 0 {
			l.series[i].points = append(l.series[i].points, point{r.Params["database MiB"], v.Median, v.Min, v.Max})
		}
	}
	return l.draw()
}

func classes(title string, rows []*report.Row) string {
	order := []account.Class{
		account.Relations, account.Maps, account.WAL, account.Unlogged, account.Temporary, account.Logs, account.Status,
		account.Other, account.Unnamed, account.Records,
	}
	b := bars{title: title}
	for _, c := range order {
		b.legend = append(b.legend, string(c))
	}
	for _, r := range rows {
		one := bar{name: r.Name, parts: make([]float64, len(order))}
		for i, c := range order {
			one.parts[i] = r.Value(string(c)).Median / (1 << 20)
		}
		b.rows = append(b.rows, one)
	}
	return b.draw()
}

// quantiles shows how a duration is distributed over the repetitions.
func quantiles(title string, rows []*report.Row) string {
	l := lines{title: title, x: "share of the runs, %", y: "s"}
	for _, r := range rows {
		var all []float64
		for _, run := range r.Good() {
			all = append(all, run.Seconds)
		}
		slices.Sort(all)
		s := series{name: r.Name}
		for q := 0.0; q <= 1 && len(all) > 0; q += 0.1 {
			v := all[int(math.Round(q*float64(len(all)-1)))]
			s.points = append(s.points, point{math.Round(100 * q), v, v, v})
		}
		l.series = append(l.series, s)
	}
	return l.draw()
}

// overTime shows a value that was sampled, at about thirty moments.
func overTime(title, value string, rows []*report.Row) string {
	l := lines{title: title, x: "seconds since the seed began", y: value}
	longest := 1.0
	for _, r := range rows {
		longest = max(longest, r.Seconds().Max)
	}
	step := math.Ceil(longest/300) * 10
	for _, r := range rows {
		s := series{name: r.Name}
		for at := 0.0; at <= longest; at += step {
			i := slices.IndexFunc(r.Runs, func(run report.Run) bool { return run.Seconds >= at })
			if i < 0 {
				break
			}
			v := r.Runs[i].Values[value]
			s.points = append(s.points, point{at, v, v, v})
		}
		l.series = append(l.series, s)
	}
	return l.draw()
}
