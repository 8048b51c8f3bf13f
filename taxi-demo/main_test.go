package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"taxi-demo": func() { os.Exit(run(os.Args[1:], terminal{out: os.Stdout, err: os.Stderr})) },
	})
}

// TestScripts runs the demo as a person would: each script is a command line,
// what it must print, and its exit code.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"damaged":     damaged,
			"edited":      edited,
			"exits":       exits,
			"captured":    captured,
			"format":      setFormat,
			"gzipped":     gzipped,
			"interrupted": interrupted,
			"killed":      killed,
			"onceeach":    onceEach,
			"plant":       plant,
			"same":        sameReport,
			"waitfor":     waitFor,
			"zeroed":      zeroed,
		},
	})
}
