package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// plot is a drawing of horizontal bars: a group of bars for each row, one for each
// series, beside each other or, when stacked, one after the other.
type plot struct {
	title, unit string
	series      []string
	rows        []plotRow
	stacked     bool
}

// plotRow is one group of bars.
type plotRow struct {
	label  string
	values []float64 // One for each series; 0 is not drawn.
	// low and high are the ends of a line over the first bar, when high is not 0.
	low, high float64
}

// The measures of a plot, in pixels.
const (
	plotWidth  = 860
	labelWidth = 210
	valueWidth = 90
	barHeight  = 15
	groupGap   = 12
	plotTop    = 64
	axisHeight = 26
)

// plotStyle colours a plot for light and for dark pages; the background is the page's.
const plotStyle = `<style>
text{font:12px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#1f2328}
.t{font-size:15px;font-weight:600}.m{fill:#59636e}.g{stroke:#d1d9e0;stroke-width:1}.w{stroke:#1f2328;stroke-width:1.5}
.s0{fill:#0b7285}.s1{fill:#adb5bd}.s2{fill:#e8890c}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.m{fill:#9198a1}.g{stroke:#3d444d}.w{stroke:#e6edf3}.s0{fill:#22b8cf}.s1{fill:#6c757d}.s2{fill:#ffa94d}}
</style>
`

// svg draws the plot.
func (p plot) svg() string {
	bars := len(p.series)
	if p.stacked {
		bars = 1
	}
	group := bars*barHeight + groupGap
	height := plotTop + len(p.rows)*group + axisHeight
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`+"\n", plotWidth, height, plotWidth, height, html.EscapeString(p.title))
	b.WriteString(plotStyle)
	fmt.Fprintf(&b, `<text class="t" x="8" y="22">%s</text>`+"\n", html.EscapeString(p.title))
	p.legend(&b)
	step := niceStep(p.largest())
	scale := float64(plotWidth-labelWidth-valueWidth) / max(step, math.Ceil(p.largest()/step)*step)
	p.grid(&b, step, scale, height-axisHeight)
	for i, row := range p.rows {
		p.row(&b, row, plotTop+i*group, scale)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (p plot) legend(b *strings.Builder) {
	x := 8
	for i, name := range p.series {
		fmt.Fprintf(b, `<rect class="s%d" x="%d" y="34" width="11" height="11" rx="2"/><text class="m" x="%d" y="44">%s</text>`+"\n", i, x, x+16, html.EscapeString(name))
		x += 40 + 7*len(name)
	}
}

func (p plot) grid(b *strings.Builder, step, scale float64, bottom int) {
	for v := 0.0; v <= math.Ceil(p.largest()/step)*step; v += step {
		x := labelWidth + v*scale
		fmt.Fprintf(b, `<line class="g" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/><text class="m" x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			x, plotTop-8, x, bottom, x, bottom+16, short(v))
	}
	fmt.Fprintf(b, `<text class="m" x="%d" y="%d" text-anchor="end">%s</text>`+"\n", plotWidth-8, bottom+16, html.EscapeString(p.unit))
}

// row draws one group of bars with its figures.
func (p plot) row(b *strings.Builder, row plotRow, y int, scale float64) {
	bars := len(row.values)
	if p.stacked {
		bars = 1
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", labelWidth-8, y+bars*barHeight/2+4, html.EscapeString(row.label))
	at, sum := float64(labelWidth), 0.0
	for i, v := range row.values {
		if v > 0 {
			fmt.Fprintf(b, `<rect class="s%d" x="%.1f" y="%d" width="%.1f" height="%d"/>`+"\n", i, at, y, max(1, v*scale), barHeight-2)
		}
		if sum += v; p.stacked {
			at += v * scale
			continue
		}
		if v > 0 {
			fmt.Fprintf(b, `<text x="%.1f" y="%d">%s</text>`+"\n", at+max(v, shown(row, i))*scale+6, y+barHeight-4, number(v))
		}
		y += barHeight
	}
	if p.stacked {
		fmt.Fprintf(b, `<text x="%.1f" y="%d">%s</text>`+"\n", at+6, y+barHeight-4, number(sum))
		return
	}
	if top := y - bars*barHeight + barHeight/2 - 1; row.high > 0 {
		fmt.Fprintf(b, `<line class="w" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n", labelWidth+row.low*scale, top, labelWidth+row.high*scale, top)
	}
}

// shown is how far the line of a row's first bar goes.
func shown(row plotRow, series int) float64 {
	if series > 0 {
		return 0
	}
	return row.high
}

// largest is the longest bar, or line.
func (p plot) largest() float64 {
	longest := 0.0
	for _, row := range p.rows {
		sum := 0.0
		for _, v := range row.values {
			sum += v
			longest = max(longest, v, row.high)
		}
		if p.stacked {
			longest = max(longest, sum)
		}
	}
	return longest
}

// niceStep is a distance of grid lines that gives about five up to most, and is 1, 2 or 5
// times a power of ten.
func niceStep(most float64) float64 {
	if most <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(most/5)))
	for _, times := range []float64{1, 2, 5} {
		if most/(times*power) <= 6 {
			return times * power
		}
	}
	return 10 * power
}

// short prints a round number for an axis.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v/1e6), ".0") + " M"
	case v >= 1e3:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v/1e3), ".0") + " k"
	}
	return fmt.Sprintf("%g", math.Round(v*1e6)/1e6)
}
