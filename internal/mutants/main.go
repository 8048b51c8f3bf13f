// Command mutants puts bugs into a copy of Leat, one at a time, and demands
// that the tests catch each: a suite that passes with one of them in place
// proves nothing.
//
// A mutant is a file patch/NAME.patch: lines beginning with "#" that say what
// the bug is (#), which packages are to catch it (#packages:) and, where the
// whole of them takes long, by which tests (#tests:, a regular expression),
// then a unified diff. A mutant that does not apply or does not compile is an
// error and counts as not caught; so is one whose tests fail without it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"
)

// testTimeout bounds the tests of one mutant: a bug may make them hang, which
// counts as caught.
const testTimeout = 4 * time.Minute

func main() {
	only := flag.String("only", "", "run only the mutants whose name matches this regular expression")
	dir := flag.String("patches", "internal/mutants/patch", "the directory of the mutants")
	list := flag.Bool("list", false, "print their names and what each is, and run none")
	flag.Parse()
	if *list {
		mutants, err := load(*dir, *only)
		if err != nil {
			fmt.Fprintln(os.Stderr, "mutants:", err)
			os.Exit(2)
		}
		for _, m := range mutants {
			fmt.Printf("%-28s %s\n", m.name, m.what)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	survivors, err := run(ctx, *dir, *only, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
	}
	if err != nil || survivors > 0 {
		os.Exit(1)
	}
}

// mutant is one bug.
type mutant struct {
	name, what string
	packages   []string
	tests      string // regular expression; empty for all
	patch      string // path
}

// suite is what is run for it.
func (m mutant) suite() []string {
	args := []string{"test", "-count", "1", "-timeout", testTimeout.String()}
	if m.tests != "" {
		args = append(args, "-run", m.tests)
	}
	return append(args, m.packages...)
}

func load(dir, only string) (mutants []mutant, err error) {
	want, err := regexp.Compile(only)
	if err != nil {
		return nil, err
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*.patch"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, path := range paths {
		m, err := parse(path)
		if err != nil {
			return nil, err
		}
		names = append(names, m.name)
		if want.MatchString(m.name) {
			mutants = append(mutants, m)
		}
	}
	if len(mutants) == 0 {
		return nil, fmt.Errorf("%s holds no mutant called %q; there are %s", dir, only, strings.Join(names, ", "))
	}
	return mutants, nil
}

func parse(path string) (mutant, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return mutant{}, err
	}
	m := mutant{name: strings.TrimSuffix(filepath.Base(path), ".patch")}
	if m.patch, err = filepath.Abs(path); err != nil {
		return mutant{}, err
	}
	var what []string
	for line := range strings.Lines(string(data)) {
		text, comment := strings.CutPrefix(line, "#")
		if !comment {
			break
		}
		text = strings.TrimSpace(text)
		switch key, value, _ := strings.Cut(text, ":"); key {
		case "packages":
			m.packages = strings.Fields(value)
		case "tests":
			m.tests = strings.TrimSpace(value)
		default:
			what = append(what, text)
		}
	}
	m.what = strings.Join(what, " ")
	if m.what == "" || len(m.packages) == 0 {
		return mutant{}, fmt.Errorf("%s does not say what it is and which packages catch it", path)
	}
	return m, nil
}

func run(ctx context.Context, dir, only string, out io.Writer) (survivors int, err error) {
	mutants, err := load(dir, only)
	if err != nil {
		return 0, err
	}
	tree, err := os.MkdirTemp("", "leat-mutants-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tree)) }()
	if err := copyTree(ctx, tree); err != nil {
		return 0, err
	}
	sound := map[string]error{} // by suite
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tmutant\tthe bug\tcaught by\tseconds")
	for _, m := range mutants {
		began := time.Now()
		by, err := catch(ctx, tree, m, sound)
		verdict := "caught"
		switch {
		case ctx.Err() != nil:
			return survivors, ctx.Err()
		case err != nil:
			verdict, by = "ERROR", err.Error()
			survivors++
		case by == "":
			verdict, by = "ALIVE", "nothing"
			survivors++
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.1f\n", verdict, m.name, m.what, by, time.Since(began).Seconds())
		fmt.Fprintf(os.Stderr, "%s %s: %s\n", verdict, m.name, by)
	}
	if err := w.Flush(); err != nil {
		return survivors, err
	}
	_, err = fmt.Fprintf(out, "%d of %d caught\n", len(mutants)-survivors, len(mutants))
	return survivors, err
}

// copyTree copies the files that belong to the repository, as they are now.
func copyTree(ctx context.Context, to string) error {
	list, err := exec.CommandContext(ctx, "git", "ls-files", "--cached", "--others", "--exclude-standard", "-z").Output()
	if err != nil {
		return fmt.Errorf("list the files: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		data, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // removed and not committed yet
		}
		if err != nil {
			return err
		}
		path := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(path, data, info.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}

// catch returns the test that fails with the bug in place, or "".
func catch(ctx context.Context, tree string, m mutant, sound map[string]error) (by string, err error) {
	suite := strings.Join(m.suite(), " ")
	if _, known := sound[suite]; !known {
		by, err := test(ctx, tree, m)
		if err == nil && by != "" {
			err = fmt.Errorf("%s fails without the bug", by)
		}
		sound[suite] = err
	}
	if err := sound[suite]; err != nil {
		return "", err
	}
	if err := patch(ctx, tree, m, false); err != nil {
		return "", err
	}
	by, err = test(ctx, tree, m)
	return by, errors.Join(err, patch(context.WithoutCancel(ctx), tree, m, true))
}

func patch(ctx context.Context, tree string, m mutant, reverse bool) error {
	args := []string{"apply", "--recount"}
	if reverse {
		args = append(args, "--reverse")
	}
	cmd := exec.CommandContext(ctx, "git", append(args, m.patch)...)
	cmd.Dir = tree
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s does not apply: %s", m.name, strings.Join(strings.Fields(string(out)), " "))
	}
	return nil
}

var failed = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// test runs the suite and returns the first test that failed, or "".
func test(ctx context.Context, tree string, m mutant) (string, error) {
	cmd := exec.CommandContext(ctx, "go", m.suite()...)
	cmd.Dir = tree
	out, err := cmd.CombinedOutput()
	text := string(out)
	switch {
	case err == nil && strings.Count(text, "no tests to run") >= len(m.packages): // of any package
		return "", fmt.Errorf("no test matches %q in %v", m.tests, m.packages)
	case err == nil:
		return "", nil
	case strings.Contains(text, "[build failed]"), strings.Contains(text, "[setup failed]"):
		return "", fmt.Errorf("%s does not compile: %.500s", m.name, text)
	}
	if found := failed.FindAllStringSubmatch(text, -1); len(found) > 0 {
		name := found[0][1]
		for _, f := range found[1:] { // the leaf says more than its parent
			if strings.HasPrefix(f[1], name+"/") {
				name = f[1]
			}
		}
		return name, nil
	}
	switch {
	case strings.Contains(text, "test timed out"):
		return "a test that hangs", nil
	case strings.Contains(text, "panic:"), strings.Contains(text, "FAIL\t"):
		return "the end of a test program", nil
	}
	return "", fmt.Errorf("go %s: %w: %.500s", strings.Join(m.suite(), " "), err, text)
}
