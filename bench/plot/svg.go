package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Colours that are told apart by people who do not see red and green (Okabe, Ito).
var palette = []string{"#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#999999", "#F0E442", "#000000", "#bbbbbb", "#661100", "#332288", "#88CCEE"}

const (
	width, lineHeight = 860.0, 22.0
	grey              = "#888888"
)

// page collects the elements of a drawing.
type page struct {
	strings.Builder
	height float64
}

func (p *page) add(format string, args ...any) {
	_, _ = fmt.Fprintf(p, format, args...) // a strings.Builder never fails
}

func (p *page) text(x, y float64, anchor, s string) {
	p.add(`<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, html.EscapeString(s))
}

func (p *page) box(x, y, w, h float64, colour string) {
	p.add(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", x, y, w, h, colour)
}

func (p *page) line(x1, y1, x2, y2 float64, colour string, thick float64) {
	p.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%.1f"/>`+"\n", x1, y1, x2, y2, colour, thick)
}

func (p *page) done() string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" font-family="sans-serif" font-size="12">`+
		"\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n%s</svg>\n", width, p.height, p.String())
}

// legend writes names beside their colours and returns where it ended.
func (p *page) legend(names []string, y float64) float64 {
	x := 10.0
	for i, n := range names {
		w := 30 + 6.6*float64(len(n))
		if x+w > width {
			x, y = 10, y+lineHeight
		}
		p.box(x, y-10, 12, 12, palette[i%len(palette)])
		p.text(x+17, y, "start", n)
		x += w
	}
	return y + lineHeight
}

// ticks are round numbers from 0 to most, about five of them.
func ticks(most float64) []float64 {
	if most <= 0 {
		return []float64{0, 1}
	}
	step := math.Pow(10, math.Floor(math.Log10(most/5)))
	for _, m := range []float64{1, 2, 5, 10} {
		if most/(step*m) <= 6 {
			step *= m
			break
		}
	}
	out := []float64{0}
	for v := step; v < most+step; v += step {
		out = append(out, v)
	}
	return out
}

// bars is a chart of horizontal bars, each of one part or a stack of them.
type bars struct {
	title  string
	legend []string
	rows   []bar
}

type bar struct {
	name      string
	parts     []float64
	low, high float64 // of the whole; 0 for none
}

func (b bar) sum() (s float64) {
	for _, p := range b.parts {
		s += p
	}
	return s
}

func (b *bars) draw() string {
	const left, right = 330.0, 60.0
	var p page
	p.text(10, 20, "start", b.title)
	y := 44.0
	if len(b.legend) > 1 {
		y = p.legend(b.legend, y)
	}
	most := 0.0
	for _, r := range b.rows {
		most = max(most, r.sum(), r.high)
	}
	scale := (width - left - right) / max(most, 1e-9)
	for _, r := range b.rows {
		p.text(left-8, y+13, "end", r.name)
		x := left
		for i, v := range r.parts {
			p.box(x, y+2, v*scale, 14, palette[i%len(palette)])
			x += v * scale
		}
		if r.high > r.low {
			p.line(left+r.low*scale, y+9, left+r.high*scale, y+9, "black", 1.5)
		}
		p.text(left+max(r.sum(), r.high)*scale+5, y+13, "start", number(r.sum()))
		y += lineHeight
	}
	p.height = y + 10
	return p.done()
}

// lines is a chart of series over a number.
type lines struct {
	title, x, y string
	series      []series
}

type series struct {
	name   string
	points []point
}

type point struct{ x, y, low, high float64 }

func (l *lines) draw() string {
	const left, right, plotHeight = 70.0, 30.0, 300.0
	var p page
	p.text(10, 20, "start", l.title)
	top := 44.0
	var names []string
	mostX, mostY := 0.0, 0.0
	for _, s := range l.series {
		names = append(names, s.name)
		for _, pt := range s.points {
			mostX, mostY = max(mostX, pt.x), max(mostY, pt.high)
		}
	}
	if len(names) > 1 {
		top = p.legend(names, top)
	}
	marks := ticks(mostY)
	mostY = marks[len(marks)-1]
	atX := func(x float64) float64 { return left + x/max(mostX, 1e-9)*(width-left-right) }
	atY := func(y float64) float64 { return top + plotHeight*(1-y/mostY) }
	for _, v := range marks {
		p.line(left, atY(v), width-right, atY(v), "#dddddd", 1)
		p.text(left-6, atY(v)+4, "end", number(v))
	}
	labelled := map[float64]bool{}
	for i, s := range l.series {
		for j, pt := range s.points {
			colour := palette[i%len(palette)]
			p.line(atX(pt.x), atY(pt.low), atX(pt.x), atY(pt.high), colour, 1)
			p.box(atX(pt.x)-3, atY(pt.y)-3, 6, 6, colour)
			if j > 0 {
				before := s.points[j-1]
				p.line(atX(before.x), atY(before.y), atX(pt.x), atY(pt.y), colour, 2)
			}
			if !labelled[pt.x] {
				labelled[pt.x] = true
				p.text(atX(pt.x), top+plotHeight+16, "middle", number(pt.x))
			}
		}
	}
	p.line(left, top+plotHeight, width-right, top+plotHeight, grey, 1)
	p.text(width/2, top+plotHeight+36, "middle", l.x)
	p.height = top + plotHeight + 50
	return p.done()
}

func number(v float64) string {
	switch {
	case v == math.Trunc(v) || v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
