// Command taxi-demo is Leat's flagship: a city of taxis, or months of real
// trips, through aggregates, log, router, projections and sagas, with every
// fare and every cent checked at the end.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/projection"
)

// Exit codes.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2
	exitCheckFailed = 5
	exitInUse       = 7
	exitInterrupted = 130
)

// errCheckFailed: the demo ran and something that must be true is not.
var errCheckFailed = errors.New("the check failed")

// usageError is a call that cannot be understood.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// gcPercent lets garbage grow to twice what lives before it is collected, unless
// GOGC says otherwise: an import spends a tenth less processor time for a third
// more memory.
const gcPercent = 200

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	os.Exit(run(os.Args[1:], terminal{out: os.Stdout, err: os.Stderr}))
}

func run(args []string, t terminal) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl+C kills
	slog.SetDefault(t.logger())  // of what is given no other
	cmd := rootCommand(t)
	cmd.SetArgs(args)
	cmd.SetOut(t.out)
	cmd.SetErr(t.err)
	called, err := cmd.ExecuteContextC(ctx)
	code := exitCode(ctx, err)
	store := called.Flag("store").Value.String()
	switch {
	case code == exitInUse:
		fmt.Fprintf(t.err, "taxi-demo: %s; while a process has a store open, these commands work beside it: 'events', 'projections status', 'verify' and 'backup'\n", oneLine(wordingOf(err, store)))
	case err != nil && code != exitInterrupted && !errors.Is(err, errCheckFailed):
		fmt.Fprintf(t.err, "taxi-demo: %s\n", told(err, store))
		if damaged, ok := errors.AsType[*projection.DamagedError](err); ok {
			fmt.Fprintf(t.err, "Run 'taxi-demo projections rebuild %s' to have it replaced.\n", cell(damaged.Projection))
		}
	}
	if code == exitUsage {
		fmt.Fprintf(t.err, "See '%s --help'.\n", called.CommandPath())
	}
	return code
}

// told is an error as a person is told it: each line once, and none of them
// looks like another program's.
func told(err error, store string) string {
	var lines []string
	for line := range strings.SplitSeq(printable(wordingOf(err, store)), "\n") {
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n  ")
}

func exitCode(ctx context.Context, err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errCheckFailed):
		return exitCheckFailed
	case errors.Is(err, eventstore.ErrInUse):
		return exitInUse
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitError
}

func rootCommand(t terminal) *cobra.Command {
	var store string
	city := cityFlags{}
	root := &cobra.Command{
		Use:   "taxi-demo",
		Short: "A city of taxis on Leat: every event, every saga, every cent",
		Long: `A city of taxis on Leat: every event, every saga, every cent.

Without a command it runs the generated city at 60x until Ctrl+C; run again to
resume, --fresh to start over. Data goes to stdout, the rest to stderr.

Exit: 0 ok, 1 error, 2 usage, 5 a check failed, 7 the store is in use,
130 interrupted.`,
		Args:          noArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if store == "" {
				return usagef("--store is empty: name the store's directory")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runLive(cmd.Context(), t, store, city)
		},
	}
	root.PersistentFlags().StringVar(&store, "store", "./taxi-data", "the store's directory")
	city.register(root)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usageError{flagError(cmd, err)} })
	root.AddCommand(
		runCommand(t, &store),
		importCommand(t, &store),
		checkCommand(t, &store),
		verifyCommand(t, &store),
		backupCommand(t, &store),
		restoreCommand(t, &store),
		projectionsCommand(t, &store),
		failuresCommand(t, &store),
		sagasCommand(t, &store),
		eventsCommand(t, &store),
	)
	root.CompletionOptions.DisableDefaultCmd = true
	return root
}

// noArgs is for a command without arguments; what follows one that has
// commands of its own is meant for one of them.
func noArgs(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case cmd.HasSubCommands():
		return usagef("unknown command %q for %q%s", args[0], cmd.CommandPath(), near(cmd, args[0]))
	}
	name := strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
	return usagef("%s takes no arguments, only flags: %q is too much", name, args[0])
}

// nearest is how many letters a command may be off for it to be suggested.
const nearest = 3

// near suggests what somebody may have meant.
func near(cmd *cobra.Command, name string) string {
	cmd.SuggestionsMinimumDistance = nearest
	meant := cmd.SuggestionsFor(name)
	if len(meant) == 0 {
		return ""
	}
	return ": did you mean " + strings.Join(meant, " or ") + "?"
}

// badValue is how a flag's value is refused.
var badValue = regexp.MustCompile(`^invalid argument (".*") for "(?:-., )?--([a-z-]+)" flag: `)

// flagError says of a number what it must look like.
func flagError(cmd *cobra.Command, err error) error {
	m := badValue.FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	flag := cmd.Flag(m[2])
	if flag == nil {
		return err
	}
	what := map[string]string{"int": "a whole number", "uint64": "a whole number from 0", "float64": "a number", "bool": "true or false", "duration": "a duration such as 90m or 36h"}[flag.Value.Type()]
	if what == "" {
		return err
	}
	return fmt.Errorf("--%s %s: give %s", m[2], m[1], what)
}
