package doctest

import (
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// runMake runs make as from a shell, also where make runs the tests.
func runMake(t *testing.T, args ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "make", args...)
	cmd.Dir, cmd.Env = "../..", append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
	return cmd.CombinedOutput()
}

// TestAMisspeltExperimentIsNoneThatPassed: what runs no experiment says so, and
// does not end well.
func TestAMisspeltExperimentIsNoneThatPassed(t *testing.T) {
	for _, target := range []string{"soak", "torture"} {
		out, err := runMake(t, target, "EXPERIMENT=TestExperimentMisspelt", "SEED=1", "PKG=./clock")
		var failed *exec.ExitError
		require.ErrorAs(t, err, &failed, "%s", out)
		require.Contains(t, string(out), "no experiment matches EXPERIMENT=TestExperimentMisspelt in PKG=./clock", target)
	}
}

// TestAMisspeltFormIsNotTheShortOne: it is refused before anything runs.
func TestAMisspeltFormIsNotTheShortOne(t *testing.T) {
	out, err := runMake(t, "torture", "EXPERIMENT=TestExperimentRandomKills", "SEED=1", "FORM=lnog")
	var failed *exec.ExitError
	require.ErrorAs(t, err, &failed, "%s", out)
	require.Contains(t, string(out), "FORM=lnog: there is FORM=long")
	require.NotContains(t, string(out), "go test")
}

// TestASeedIsANumber: another is refused before anything runs.
func TestASeedIsANumber(t *testing.T) {
	out, err := runMake(t, "torture", "EXPERIMENT=TestExperimentRandomKills", "SEED=abc")
	var failed *exec.ExitError
	require.ErrorAs(t, err, &failed, "%s", out)
	require.Contains(t, string(out), "SEED=abc: give the whole number that was printed")
	require.NotContains(t, string(out), "FAIL")
}

// TestTheLastLineOfTortureIsItsVerdict.
func TestTheLastLineOfTortureIsItsVerdict(t *testing.T) {
	out, err := runMake(t, "torture", "EXPERIMENT=^TestScaledRefusesToStand", "SEED=7", "PKG=./clock")
	require.NoError(t, err, "%s", out)
	require.Regexp(t, `\npassed: EXPERIMENT=\S+ SEED=7 FORM= PKG=\./clock\n$`, string(out))
}

// TestTheExampleOfHelpExists: what make help shows can be run.
func TestTheExampleOfHelpExists(t *testing.T) {
	out, err := runMake(t, "help")
	require.NoError(t, err, "%s", out)
	name := regexp.MustCompile(`EXPERIMENT=(TestExperiment\w+)`).FindSubmatch(out)
	require.NotNil(t, name)
	list := exec.CommandContext(t.Context(), "go", "test", "-list", "^"+string(name[1])+"$", "./internal/crashkit")
	list.Dir = "../.."
	out, err = list.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), string(name[1])+"\n")
}
