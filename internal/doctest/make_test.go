package doctest

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAMisspeltExperimentIsNoneThatPassed: what runs no experiment says so, and
// does not end well.
func TestAMisspeltExperimentIsNoneThatPassed(t *testing.T) {
	for _, target := range []string{"soak", "torture"} {
		cmd := exec.CommandContext(t.Context(), "make", target, "EXPERIMENT=TestExperimentMisspelt", "SEED=1", "PKG=./clock")
		cmd.Dir = "../.."
		out, err := cmd.CombinedOutput()
		var failed *exec.ExitError
		require.ErrorAs(t, err, &failed, "%s", out)
		require.Contains(t, string(out), "no experiment matches EXPERIMENT=TestExperimentMisspelt in PKG=./clock", target)
	}
}
