// Package archtest holds the import table: who may know whom.
package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/leat-go/leat/"

// may lists, for each package of the framework, the packages of the framework
// that it may import. A package that is not listed may import nothing of it.
var may = map[string][]string{
	"eventstore":                 {},
	"clock":                      {},
	"internal/crash":             {},
	"internal/crashkit":          {},
	"internal/crashkit/bank":     {"eventstore", "eventstore/sqlite", "clock", "aggregate", "projection", "serverless", "saga", "internal/invariant"},
	"internal/crashkit/workload": {"eventstore", "eventstore/sqlite", "clock", "bus", "projection", "serverless", "internal/crashkit/bank", "internal/disk"},
	"internal/background":        {},
	"internal/disk":              {},
	"internal/experiment":        {},
	"internal/parts":             {"eventstore", "internal/disk", "internal/sqlite"},
	"internal/invariant":         {"eventstore", "eventstore/sqlite", "projection", "verify", "internal/sqlite"},
	"internal/crashstates":       {},
	"internal/diskfault":         {},
	"internal/faultvfs":          {"internal/crashstates", "internal/disk"},
	"internal/sqlite":            {"internal/crash", "internal/disk"},
	"eventstore/memory":          {"eventstore", "clock"},
	"eventstore/sqlite":          {"eventstore", "clock", "internal/parts", "internal/sqlite", "internal/crash", "internal/disk"},
	"eventstore/storetest":       {"eventstore", "clock"},
	"aggregate":                  {"eventstore"},
	"aggregate/aggregatetest":    {"eventstore", "aggregate"},
	"bus":                        {"eventstore", "clock", "internal/crash"},
	"projection":                 {"eventstore", "clock", "bus", "internal/sqlite", "internal/crash", "internal/disk", "internal/background"},
	"projection/projectiontest":  {"eventstore", "eventstore/memory", "clock", "bus", "projection"},
	"projection/window":          {"eventstore", "projection"},
	"saga":                       {"eventstore", "clock", "bus", "internal/parts", "internal/sqlite", "internal/crash", "internal/disk"},
	"saga/sagatest":              {"eventstore", "eventstore/memory", "eventstore/sqlite", "clock", "bus", "saga", "internal/crash"},
	"serverless":                 {"eventstore", "clock", "aggregate", "bus", "projection", "saga", "internal/parts", "internal/sqlite", "internal/crash", "internal/disk"},
	"verify":                     {"eventstore", "eventstore/sqlite", "bus", "projection", "saga", "serverless", "internal/parts", "internal/sqlite"},
}

// only lists the packages that may import what stands before them.
var only = map[string][]string{
	"github.com/ThreeDotsLabs/watermill": {"bus", "projection", "saga", "saga/sagatest", "serverless", "internal/crashkit/workload"},
	"github.com/mattn/go-sqlite3":        {"internal/sqlite", "eventstore/sqlite", "internal/faultvfs"},
	"github.com/stretchr/testify":        {},
	"pgregory.net/rapid":                 {},
	"github.com/anishathalye/porcupine":  {},
	"go.uber.org/goleak":                 {},
	"github.com/rogpeppe/go-internal":    {},
	"github.com/parquet-go/parquet-go":   {"taxi-demo"},
	"github.com/spf13/cobra":             {"cmd/leat", "taxi-demo"},
}

type pkg struct {
	ImportPath string
	Imports    []string
}

// packages returns every package of the module with what its non-test files
// import.
func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	require.NoError(t, err)
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, p)
	}
}

func TestImportsGoOneWay(t *testing.T) {
	seen := 0
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, framework := may[name]
		if framework {
			seen++
		}
		for _, imp := range p.Imports {
			in, ours := strings.CutPrefix(imp, module)
			if !ours {
				continue
			}
			require.False(t, under(in, "examples") || under(in, "taxi-demo") && !under(name, "taxi-demo"),
				"%s imports %s: nothing imports the examples or the demo", name, in)
			if framework {
				require.Contains(t, allowed, in, "%s may not import %s", name, in)
			}
		}
	}
	require.Equal(t, len(may), seen, "every package of the table exists")
}

func TestLibrariesStayWhereTheyBelong(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, imp := range p.Imports {
			for library, users := range only {
				if imp != library && !strings.HasPrefix(imp, library+"/") {
					continue
				}
				require.True(t, slices.ContainsFunc(users, func(u string) bool { return under(name, u) }),
					"%s may not import %s", name, imp)
			}
		}
	}
}

// TestHarnessIsForTestsAlone guards that no program is built with a file system
// that fails.
func TestHarnessIsForTestsAlone(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, harness := range []string{"internal/faultvfs", "internal/crashstates"} {
			if name != "internal/faultvfs" {
				require.NotContains(t, p.Imports, module+harness, "%s may import %s in its tests only", name, harness)
			}
		}
	}
}

// TestUsersLinkOnlyWhatTheyUse guards the promise that importing one package
// does not bring the others' libraries along.
func TestUsersLinkOnlyWhatTheyUse(t *testing.T) {
	never := map[string][]string{
		"eventstore":        {"github.com/ThreeDotsLabs/watermill", "github.com/mattn/go-sqlite3"},
		"eventstore/memory": {"github.com/ThreeDotsLabs/watermill", "github.com/mattn/go-sqlite3"},
		"eventstore/sqlite": {"github.com/ThreeDotsLabs/watermill"},
		"aggregate":         {"github.com/ThreeDotsLabs/watermill", "github.com/mattn/go-sqlite3"},
		"bus":               {"github.com/mattn/go-sqlite3"},
		"serverless":        {"github.com/parquet-go/parquet-go", "github.com/spf13/cobra"},
	}
	for name, libraries := range never {
		cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "./"+name)
		cmd.Dir = "../.."
		out, err := cmd.Output()
		require.NoError(t, err)
		for dep := range strings.Lines(string(out)) {
			for _, library := range libraries {
				require.False(t, under(strings.TrimSpace(dep), library), "%s links %s", name, dep)
			}
		}
	}
}

func under(name, root string) bool { return name == root || strings.HasPrefix(name, root+"/") }
