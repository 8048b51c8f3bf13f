package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/verify"
)

func verifyCommand(t terminal, store *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Tell whether the store is as it was written",
		Long: `Tell whether the store is as it was written: hash chain, versions, positions,
witness, checkpoints, and every file of the directory. A backup is held to its
manifest as well. Exit 5 where anything is found.

It changes nothing. Beside a demo that runs it reads through SQLite; otherwise
it works on a copy of the directory, in TMPDIR, and removes it again.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := verify.Dir(cmd.Context(), *store)
			switch {
			case errors.Is(err, sqlite.ErrNotStore) && noStoreAtAll.MatchString(err.Error()):
				return err
			case (errors.Is(err, fs.ErrNotExist) || errors.Is(err, sqlite.ErrNotStore)) && mustExist(*store) != nil:
				return mustExist(*store)
			case errors.Is(err, sqlite.ErrNotStore) && !strings.Contains(err.Error(), ": name another directory"):
				return fmt.Errorf("%w: name another with --store", err)
			case err != nil:
				return err
			}
			for i := range r.Findings {
				f := &r.Findings[i]
				f.Reason, f.Remedy = naming(commands(f.Reason), *store), naming(commands(f.Remedy), *store)
			}
			switch {
			case asJSON:
				err = t.json(r)
			default:
				err = verified(t.out, r)
			}
			if err == nil && !r.OK() {
				err = errCheckFailed
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// noStoreAtAll is said of what is no directory of a store, whatever is in it.
var noStoreAtAll = regexp.MustCompile(`it is (?:a file|an unfinished backup or restore): `)

// verified writes a report as a table, with one line for each finding.
func verified(w io.Writer, r verify.Report) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-20s %s\n", name, oneLine(fmt.Sprintf(format, args...)))
	}
	how := map[string]string{verify.BesideOwner: "beside the process that has it open", verify.PrivateCopy: "a copy of it"}[r.Looked]
	line(r.Kind, "%s (looked at %s)", r.Dir, how)
	if r.Log.Read {
		line("log", "%d events, %d batch IDs", r.Log.Events, r.Log.Batches)
	} else {
		line("log", "it could not be read, or not to its end")
	}
	for _, c := range r.Consumers {
		line("checkpoint", "%-28s %s at %d, %d behind", c.File, c.Consumer, c.Position, c.Behind)
	}
	for _, f := range r.Findings {
		line("FOUND", "%s", f)
	}
	if r.OK() {
		line("verify", "ok")
	} else {
		more := ""
		if r.Cut {
			more = " or more"
		}
		line("verify", "NOT OK: %d%s found", len(r.Findings), more)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// oneLine returns s as one line that cannot drive the terminal.
func oneLine(s string) string { return strings.Join(strings.Fields(printable(s)), " ") }
