package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

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
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := t.out.Write(harmless(b.Bytes()))
	return err
}

// jsonLine writes one object to out, on one line.
func (t terminal) jsonLine(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = t.out.Write(append(harmless(line), '\n'))
	return err
}

// harmless returns JSON that says the same and cannot drive the terminal: what
// printable would escape stands in strings only, and is escaped as JSON does.
func harmless(data []byte) []byte {
	if !bytes.ContainsFunc(data, drives) {
		return data
	}
	safe := make([]byte, 0, len(data)+64)
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		switch {
		case r >= 0x10000 && drives(r):
			high, low := utf16.EncodeRune(r)
			safe = fmt.Appendf(safe, "\\u%04x\\u%04x", high, low)
		case drives(r):
			safe = fmt.Appendf(safe, "\\u%04x", r) // the replacement character for what is no UTF-8
		default:
			safe = append(safe, data[:size]...)
		}
		data = data[size:]
	}
	return safe
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

// printable returns s with everything escaped that could drive the terminal or
// make text look like other text: control characters but line breaks and tabs,
// characters without a shape, such as those that turn the direction of writing,
// and bytes that are no UTF-8.
func printable(s string) string {
	if !strings.ContainsFunc(s, drives) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, "\\x%02x", s[0])
		case r > 0xff && drives(r):
			fmt.Fprintf(&b, "\\u%04x", r)
		case drives(r):
			fmt.Fprintf(&b, "\\x%02x", r)
		default:
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

// cell is printable for what must stay inside of its line.
func cell(s string) string {
	return lineBreaks.Replace(printable(s))
}

var lineBreaks = strings.NewReplacer("\n", `\n`, "\t", `\t`)

// drives tells whether a character is one that printable escapes. What is no
// UTF-8 is read as the replacement character.
func drives(r rune) bool {
	return r != '\n' && r != '\t' && (r == utf8.RuneError || unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp))
}

// dollars writes cents as dollars.
func dollars(cents int64) string {
	sign := ""
	if cents < 0 {
		sign, cents = "-", -cents
	}
	return fmt.Sprintf("%s$%d.%02d", sign, cents/100, cents%100)
}
