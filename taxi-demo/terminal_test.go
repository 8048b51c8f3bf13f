package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
)

func TestALineFitsTheTerminal(t *testing.T) {
	require.Equal(t, "short", fit("short", 80))
	require.Equal(t, "12:00 · 3…", fit("12:00 · 3 rides", 11))
	require.Len(t, []rune(fit("exactly as wide", 15)), 14)
}

func TestDataCannotDriveTheTerminal(t *testing.T) {
	for got, want := range map[string]string{
		"a\x1b[2Jb":             `a\x1b[2Jb`,
		"line\n\tnext\n":        "line\n\tnext\n",
		"back\b\r\x00\x7f":      `back\x08\x0d\x00\x7f`,
		"c1 \u009b31m":          `c1 \x9b31m`,
		"not UTF-8 \x9b31m":     `not UTF-8 \x9b31m`,
		"turned \u202e\u2066":   `turned \u202e\u2066`,
		"lines \u2028\u2029":    `lines \u2028\u2029`,
		"\ufeffno shape \u200b": `\ufeffno shape \u200b`,
		"Zürich 東京 😀":           "Zürich 東京 😀",
	} {
		require.Equal(t, want, printable(got))
	}
	require.Equal(t, `one\nline\t\x1b`, cell("one\nline\t\x1b"))
}

func TestHarmlessJSONSaysTheSame(t *testing.T) {
	for _, data := range []string{
		`{"a":"plain"}`, "{\"a\":\"\u009b31m\u202e\u2028\x7f\"}", "{\"a\u0080\":[\"\U000e0001\"]}", "{\n  \"a\": 1\n}\n",
	} {
		safe := harmless([]byte(data))
		require.JSONEq(t, data, string(safe))
		require.False(t, strings.ContainsFunc(string(safe), drives), "%q", safe)
	}
	var s string
	require.NoError(t, json.Unmarshal(harmless([]byte("\"a\xffb\"")), &s), "what is no UTF-8")
	require.Equal(t, "a\ufffdb", s)
}

// TestNothingFromAStoreDrivesTheTerminal prints a log whose payloads would.
func TestNothingFromAStoreDrivesTheTerminal(t *testing.T) {
	const attack = "\x1b]0;owned\x07\x1b[2J\r\nforged line\u009b31m\u202e\x9b"
	dir := t.TempDir()
	store, err := sqlite.Open(t.Context(), dir, nil)
	require.NoError(t, err)
	quoted, err := json.Marshal(attack)
	require.NoError(t, err)
	_, err = store.Append(t.Context(), eventstore.Batch{ID: "id\u202e", Writes: []eventstore.Write{{Stream: "ride-\u202e", Events: []eventstore.EventData{
		{Type: "raw\u200b", Data: []byte(attack), Metadata: eventstore.Metadata{"actor": "\x1b[31m\u009b"}},
		{Type: "json", Data: append(append([]byte(`{"rider": `), quoted...), " ,\n\"x\":\"\u009b\x7f\"}"...)},
	}}}})
	require.NoError(t, err)
	require.NoError(t, store.Close())
	for _, args := range [][]string{
		{"events", "tail"}, {"events", "tail", "--json"}, {"events", "stream", "ride-\u202e"}, {"events", "stream", "ride-\u202e", "--json"},
		{"events", "show", "1"}, {"events", "show", "2"}, {"events", "stream", attack},
		{"import", filepath.Join(dir, attack)}, {attack}, {"--" + attack}, {"projections", "rebuild", attack},
	} {
		t.Run(strings.Join(args[:1], " "), func(t *testing.T) {
			var out, errs bytes.Buffer
			code := run(append(args, "--store", dir), terminal{out: &out, err: &errs})
			for _, text := range []string{out.String(), errs.String()} {
				require.True(t, utf8.ValidString(text))
				require.False(t, strings.ContainsFunc(text, drives), "%q", text)
				require.NotContains(t, text, "\nforged")
			}
			if args[0] != "events" || args[len(args)-1] == attack {
				require.NotZero(t, code)
				return
			}
			require.Zero(t, code, errs.String())
			if slices.Contains(args, "--json") {
				lines := strings.Split(strings.TrimSpace(out.String()), "\n")
				require.Len(t, lines, 2)
				var e event
				require.NoError(t, json.Unmarshal([]byte(lines[1]), &e))
				require.JSONEq(t, `{"rider":`+string(quoted)+`,"x":"\u009b\u007f"}`, string(e.Data))
			}
		})
	}
}

func TestMoneyIsWrittenInDollars(t *testing.T) {
	require.Equal(t, "$12.05", dollars(1205))
	require.Equal(t, "-$0.07", dollars(-7))
}
