package bus_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
)

// recovered returns the error of fn's panic.
func recovered(fn func()) (err *bus.PanicError) {
	defer func() {
		if v := recover(); v != nil {
			err = bus.Recovered(v)
		}
	}()
	fn()
	return nil
}

type shelf struct{ items map[string]int }

func (s *shelf) put(name string) { s.items[name]++ }

func TestAPanicSaysWhereInOneLine(t *testing.T) {
	failure := errors.New("out of paper")
	for name, c := range map[string]struct {
		fn    func()
		value string
		at    string
	}{
		"a value":          {func() { panic("boom") }, "boom", `TestAPanicSaysWhereInOneLine\.func\d+, panic_test\.go:\d+`},
		"of the runtime":   {func() { (&shelf{}).put("a") }, "assignment to entry in nil map", `\(\*shelf\)\.put, panic_test\.go:28`},
		"raised once more": {func() { defer func() { panic(recover()) }(); (&shelf{}).put("a") }, "assignment to entry in nil map", `\(\*shelf\)\.put, panic_test\.go:28`},
		"an error":         {func() { panic(failure) }, "out of paper", `panic_test\.go:\d+`},
	} {
		t.Run(name, func(t *testing.T) {
			err := recovered(c.fn)
			require.Regexp(t, `^panic: `+c.value+`.* \(.*bus_test\..*`+c.at+`\)$`, err.Error())
			require.Contains(t, string(err.Stack), "panic_test.go")
		})
	}
	require.ErrorIs(t, recovered(func() { panic(failure) }), failure)
	require.Equal(t, "panic: 7", (&bus.PanicError{Value: 7}).Error())
}

func TestTheStackOfAPanicIsLogged(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	bus.LogPanic(log, fmt.Errorf("handler: %w", recovered(func() { panic("boom") }))).Error("failed")
	require.Contains(t, out.String(), "stack=")
	require.Contains(t, out.String(), "panic_test.go")
	out.Reset()
	bus.LogPanic(log, errors.New("no panic")).Error("failed")
	require.NotContains(t, out.String(), "stack")
}
