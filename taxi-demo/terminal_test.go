package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestALineFitsTheTerminal(t *testing.T) {
	require.Equal(t, "short", fit("short", 80))
	require.Equal(t, "12:00 · 3…", fit("12:00 · 3 rides", 11))
	require.Len(t, []rune(fit("exactly as wide", 15)), 14)
}

func TestDataCannotDriveTheTerminal(t *testing.T) {
	require.Equal(t, `a\x1b[2Jb`, printable("a\x1b[2Jb"))
	require.Equal(t, "line\n", printable("line\n"))
}

func TestMoneyIsWrittenInDollars(t *testing.T) {
	require.Equal(t, "$12.05", dollars(1205))
	require.Equal(t, "-$0.07", dollars(-7))
}
