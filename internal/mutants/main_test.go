package main

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAMisspeltMutantIsToldTheNames that there are.
func TestAMisspeltMutantIsToldTheNames(t *testing.T) {
	all, err := load("patch", "")
	require.NoError(t, err)
	_, err = load("patch", "misspelt")
	require.ErrorContains(t, err, `no mutant called "misspelt"`)
	for _, m := range all {
		require.ErrorContains(t, err, m.name)
	}
}

// TestEveryMutantApplies keeps the patches in step with the code: a mutant
// that does not apply catches nothing.
func TestEveryMutantApplies(t *testing.T) {
	mutants, err := load("patch", "")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(mutants), 15)
	for _, m := range mutants {
		cmd := exec.CommandContext(t.Context(), "git", "apply", "--check", "--recount", m.patch)
		cmd.Dir = "../.."
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", m.name, out)
	}
}
