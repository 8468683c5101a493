package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/tidemill/tidemill/connect"
)

// bar is the progress of one table's snapshot.
type bar struct {
	name, topic string
	done, total int
}

// progress draws bars over themselves on a terminal, and once elsewhere.
type progress struct {
	w     io.Writer
	moves bool
	drawn int
}

func newProgress(w io.Writer, moves bool) *progress { return &progress{w: w, moves: moves} }

func (p *progress) draw(bars []bar) {
	if !p.moves {
		return
	}
	if p.drawn > 0 {
		fmt.Fprintf(p.w, "\x1b[%dA", p.drawn)
	}
	p.print(bars)
	p.drawn = len(bars)
}

func (p *progress) finish(bars []bar) {
	if p.drawn == 0 {
		p.print(bars)
	}
}

func (p *progress) print(bars []bar) {
	full, empty := "█", "░"
	if !p.moves {
		full, empty = "#", "."
	}
	for i, b := range bars {
		head := ""
		if i == 0 {
			head = "snapshot"
		}
		n := 16
		if b.total > 0 {
			n = min(16, 16*b.done/b.total)
		}
		fmt.Fprintf(p.w, "   %-10s %-28s %s%s  %d/%d\n", head, b.name, strings.Repeat(full, n), strings.Repeat(empty, 16-n), b.done, b.total)
	}
}

// printer prints one line for each change. Several goroutines may use it.
type printer struct {
	mu    sync.Mutex // Guards the following.
	w     io.Writer
	lines int
}

func newPrinter(w io.Writer) *printer { return &printer{w: w} }

// line prints op, table, key, change, LSN and lag.
func (p *printer) line(parts ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	const format = " %-2s %-28s %-7s %-60s %-12s %s\n"
	if p.lines%headEvery == 0 {
		fmt.Fprintf(p.w, format, "OP", "TABLE", "KEY", "CHANGE", "LSN", "LAG")
	}
	p.lines++
	fmt.Fprintf(p.w, format, parts...)
}

// derived prints a change of the derived table.
func (p *printer) derived(key, what string) {
	p.line("t", "ORDERS_BY_CUSTOMER", key, what, "–", "–")
}

// headEvery is after how many lines the head of the columns is printed again.
const headEvery = 40

func (p *printer) print(c change) {
	if c.Op == connect.OpRead {
		return
	}
	p.line(c.Op, strings.TrimPrefix(c.topic, "shop."), keyText(c.key), cut(c.describe(), 60), c.lsn(), c.lag())
}

func keyText(key connect.Value) string {
	if key.Kind() != connect.KindStruct {
		return key.String()
	}
	return strings.ReplaceAll(rowText(key), "\x1f", ",")
}

// describe names what was inserted, or what became different.
func (c change) describe() string {
	var parts []string
	row := c.After
	if row.IsNull() {
		return "deleted"
	}
	for i, f := range c.row.Fields() {
		now := fieldText(f.Schema, row.Struct().At(i))
		if c.Before.IsNull() {
			parts = append(parts, f.Name+"="+shown(now))
		} else if was := fieldText(f.Schema, c.Before.Struct().At(i)); was != now {
			parts = append(parts, f.Name+" "+shown(was)+" → "+shown(now))
		}
	}
	return strings.Join(parts, " ")
}

func shown(text string) string {
	if text == nullText {
		return "null"
	}
	return text
}

func cut(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return string(runes[:n-1]) + "…"
}

// lsn returns the change's position in the WAL as PostgreSQL writes it.
func (c change) lsn() string {
	if c.Source.Kind() != connect.KindStruct {
		return "–"
	}
	v := c.Source.Struct().Get("lsn")
	if !v.IsInt() {
		return "–"
	}
	return fmt.Sprintf("%X/%X", uint64(v.Int())>>32, uint32(v.Int()))
}

// lag returns the time from the commit until now.
func (c change) lag() string {
	if c.Source.Kind() != connect.KindStruct {
		return "–"
	}
	v := c.Source.Struct().Get("ts_ms")
	if !v.IsInt() {
		return "–"
	}
	return time.Since(time.UnixMilli(v.Int())).Round(time.Millisecond).String()
}
