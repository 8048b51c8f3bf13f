// Command report prints the figures of experiments as a table. It exits with 1
// where one has failed, or there are none.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/leat-go/leat/internal/experiment"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "report: name the file of figures")
		os.Exit(2)
	}
	sound, err := report(os.Args[1], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
	}
	if err != nil || !sound {
		os.Exit(1)
	}
}

func report(path string, out io.Writer) (sound bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\texperiment\tseconds\tseed\tfigures")
	rows := 0
	sound = true
	for lines := bufio.NewScanner(f); ; {
		if !lines.Scan() {
			if err := lines.Err(); err != nil {
				return false, fmt.Errorf("%s: %w", path, err)
			}
			break
		}
		var r experiment.Row
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return false, fmt.Errorf("%s: line %d: %w", path, rows+1, err)
		}
		rows++
		verdict := "ok"
		switch {
		case r.Skipped:
			verdict = "skip"
		case !r.Passed:
			verdict, sound = "FAIL", false
		}
		fmt.Fprintf(w, "%s\t%s\t%.1f\t%d\t%s\n", verdict, r.Experiment, r.Seconds, r.Seed, figures(r))
	}
	if rows == 0 {
		return false, fmt.Errorf("%s holds no figures: no experiment ran", path)
	}
	return sound, w.Flush()
}

func figures(r experiment.Row) string {
	text := ""
	for i, f := range r.Figures {
		if i > 0 {
			text += ", "
		}
		text += f.Name + " " + f.Value
	}
	return text
}
