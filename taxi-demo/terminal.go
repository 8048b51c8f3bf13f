package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"golang.org/x/term"
)

// terminal is where the demo speaks: data to out, the rest to err.
type terminal struct {
	out, err io.Writer
}

// live tells whether err is a terminal that a line can be drawn over on.
func (t terminal) live() bool { return t.width() > 0 }

// width returns how wide the terminal is; 0 where err is none.
func (t terminal) width() int {
	f, ok := t.err.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// fit cuts a line to a width, so that it can be drawn over.
func fit(line string, width int) string {
	runes := []rune(line)
	if len(runes) < width {
		return line
	}
	return string(runes[:max(width-2, 0)]) + "…"
}

// Intervals of a progress line: drawn over on a terminal, added elsewhere.
const (
	drawEvery = 200 * time.Millisecond
	sayEvery  = 5 * time.Second
)

func (t terminal) interval() time.Duration {
	if t.live() {
		return drawEvery
	}
	return sayEvery
}

// status shows a line of progress.
func (t terminal) status(line string) {
	if width := t.width(); width > 0 {
		fmt.Fprintf(t.err, "\r\x1b[K%s", fit(printable(line), width))
		return
	}
	fmt.Fprintln(t.err, printable(line))
}

// clear removes the line that status drew.
func (t terminal) clear() {
	if t.live() {
		fmt.Fprint(t.err, "\r\x1b[K")
	}
}

// json writes one object to out.
func (t terminal) json(v any) error {
	enc := json.NewEncoder(t.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// bar draws how much of a whole is done.
func bar(done, total int64) string {
	const width = 30
	if total <= 0 {
		return strings.Repeat(" ", width)
	}
	full := int(min(done, total) * width / total)
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}

// printable returns s with control characters escaped, so that data cannot
// drive the terminal.
func printable(s string) string {
	if !strings.ContainsFunc(s, isControl) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if isControl(r) {
			fmt.Fprintf(&b, "\\x%02x", r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func isControl(r rune) bool { return r != '\n' && r != '\t' && unicode.IsControl(r) }

// dollars writes cents as dollars.
func dollars(cents int64) string {
	sign := ""
	if cents < 0 {
		sign, cents = "-", -cents
	}
	return fmt.Sprintf("%s$%d.%02d", sign, cents/100, cents%100)
}
