package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
)

func backupCommand(t terminal, store *string) *cobra.Command {
	var to string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "backup --to DIR",
		Short: "Copy the store into a new directory, also beside a running demo",
		Long: `Copy the store into a new directory, as of now: the log, the sagas and the
checkpoints of functions. Read models are not copied, since the log builds them
again, nor is receipts.txt, which stands for the mail.

It may run beside a demo. The directory appears when it is whole; 'restore'
makes a store of it again.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if to == "" {
				return usagef("backup: name a new directory with --to")
			}
			return withLog(cmd.Context(), *store, func(ctx context.Context, log *sqlite.Store) error {
				if err := log.Backup(ctx, to); err != nil {
					if strings.HasSuffix(err.Error(), "whether it is whole") {
						err = fmt.Errorf("%w: %s", err, noWitness)
					}
					return err
				}
				if asJSON {
					return t.json(backupReport{Store: *store, Backup: to})
				}
				_, err := fmt.Fprintf(t.out, "%-20s %s\n%-20s %s\n", "backup", cell(to), "not verified", cell("'taxi-demo verify --store "+to+"' verifies it"))
				return err
			})
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the directory of the backup, new or empty")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// backupReport is what backup prints.
type backupReport struct {
	Store  string `json:"store"`
	Backup string `json:"backup"`
}

func restoreCommand(t terminal, store *string) *cobra.Command {
	var from string
	var o sqlite.RestoreOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "restore --from DIR",
		Short: "Make a store of a backup again",
		Long: `Make a store of a backup again, in the directory of --store, which must be new
or empty. The backup is verified and not changed. 'run' and 'import' go on where
it was; what happened after it is forgotten. Exit 5 where it is damaged or may
have lost something.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" {
				return usagef("restore: name the backup with --from")
			}
			r, err := sqlite.Restore(cmd.Context(), from, *store, &o)
			_, gone := os.Stat(from)
			switch {
			case errors.Is(err, sqlite.ErrNotStore) && errors.Is(gone, fs.ErrNotExist):
				return fmt.Errorf("there is no backup in %s: there is no such directory: name another with --from", from)
			case errors.Is(err, eventstore.ErrCorrupt):
				fmt.Fprintf(t.err, "taxi-demo: %s\n", oneLine(wording(err)))
				return errCheckFailed
			case err != nil:
				return err
			}
			report := restoreReport{
				Store: *store, Files: r.Files, Events: r.Events, Batches: r.Batches,
				Position: r.Head.Position, Epoch: r.Epoch, Lost: append([]string{}, r.Lost...),
			}
			if asJSON {
				return t.json(report)
			}
			return report.write(t.out)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the directory of the backup")
	cmd.Flags().BoolVar(&o.AcceptLoss, "accept-loss", false, "restore also what may have lost something that was acknowledged")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// restoreReport is what restore prints.
type restoreReport struct {
	Store    string   `json:"store"`
	Files    []string `json:"files"`
	Events   int64    `json:"events"`
	Batches  int64    `json:"batches"`
	Position int64    `json:"position"` // after which the epoch began
	Epoch    string   `json:"epoch"`
	Lost     []string `json:"lost"` // what was accepted
}

func (r restoreReport) write(w io.Writer) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-20s %s\n", name, oneLine(fmt.Sprintf(format, args...)))
	}
	line("restored", "%s (%s)", r.Store, strings.Join(r.Files, ", "))
	line("log", "%d events, %d batch IDs", r.Events, r.Batches)
	line("epoch", "%s after position %d", r.Epoch, r.Position)
	for _, lost := range r.Lost {
		line("LOST", "%s", lost)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
