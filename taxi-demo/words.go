package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
)

// errNoStore: the command looks at a store and there is none.
var errNoStore = errors.New("there is no store")

// belongs are the files that stand beside a log and nowhere else.
var belongs = append(slices.Clone(databases[1:]), "witness", "parts")

// lostLog returns errNoStore, and what to do, where what belongs to a log is in
// dir, but no log, or nothing in it.
func lostLog(dir string) error {
	for _, name := range []string{"log.db", "log.db-wal"} { // which may hold all of a new one
		info, err := os.Stat(filepath.Join(dir, name))
		if err == nil && info.Size() > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil // which is said by whoever opens it
		}
		if err != nil && name == "log.db" {
			break
		}
	}
	for _, name := range belongs {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return fmt.Errorf("%w in %s any more: log.db is missing or empty, and %s is there: see 'taxi-demo verify --store %s', and restore a backup with 'taxi-demo restore --from BACKUP --store NEW'", errNoStore, dir, name, dir)
		}
	}
	return nil
}

// mustExist returns errNoStore, and what to do, where dir holds no log.
func mustExist(dir string) error {
	if err := lostLog(dir); err != nil {
		return err
	}
	log := filepath.Join(dir, "log.db")
	_, err := os.Stat(log)
	const make = "name another with --store, or make one with 'taxi-demo run' or 'taxi-demo import'"
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w in %s (%w): name another with --store", errNoStore, dir, err)
	}
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("%w in %s: there is no such directory: %s", errNoStore, dir, make)
	}
	return fmt.Errorf("%w in %s: it holds no log.db: %s", errNoStore, dir, make)
}

// databases are what a store of the demo has at the top of its directory.
var databases = []string{"log.db", "sagas.db", "consumers.db"}

// packages are how errors of Leat begin. One such word at the beginning says
// whose error it is; those further in say how it was wrapped.
var packages = regexp.MustCompile(`([ (])(?:eventstore/sqlite|eventstore|sqlite|serverless|projection|saga|bus): `)

// wordingOf is an error in the words of somebody at a command line who named
// this store.
func wordingOf(err error, dir string) string { return naming(wording(err), dir) }

// naming has a text name the store's directory where it stands for it.
func naming(text, dir string) string {
	return strings.NewReplacer("--from DIR", "--from "+dir, "--store DIR", "--store "+dir).Replace(text)
}

// noWitness is what a look at a copy, and Restore with AcceptLoss, are at a
// command line.
const noWitness = "see 'taxi-demo verify --store DIR', and restore a backup with 'taxi-demo restore --from BACKUP --store NEW', or go on from this one with 'taxi-demo restore --from DIR --accept-loss --store NEW'"

// wording is an error in the words of somebody at a command line.
func wording(err error) string {
	text := err.Error()
	for packages.MatchString(text) {
		text = packages.ReplaceAllString(text, "$1")
	}
	return commands(text)
}

// commands has a text of the library name commands where it names functions.
func commands(text string) string { return inCommands.Replace(text) }

var inCommands = strings.NewReplacer(
	", or read beside it with OpenReadOnly", "",
	"(AcceptLoss)", "with --accept-loss",
	"take another backup", "use another backup",
	"have Verify look at a copy of the directory, and continue from that by Restore with AcceptLoss", noWitness,
	"by Restore with AcceptLoss", "by 'taxi-demo restore --from DIR --accept-loss --store NEW'",
	"this is a backup (it has a manifest): restore it to a new directory", "this is a backup (it has a manifest): restore it with 'taxi-demo restore --from BACKUP --store NEW'",
	// The demo is stopped by now, so that nobody can copy what was open.
	"take a Backup of this store before closing it, and continue from that by Restore", "restore a backup with 'taxi-demo restore --from BACKUP --store NEW', or start over with --fresh",
	"restore the store from a backup", "restore the store from a backup with 'taxi-demo restore --from BACKUP --store NEW'",
	"restore it from a backup", "restore the store from a backup with 'taxi-demo restore --from BACKUP --store NEW'",
)

// stillThere returns an error where a file of a store that was open until now
// is gone: what was stored since then is in no file that has a name.
func stillThere(dir string) error {
	for _, name := range databases {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%s was removed while the store was open (%w): what was stored since then is lost: restore a backup with 'taxi-demo restore', or start over with --fresh", path, err)
		}
	}
	return nil
}

// mayWrite explains the error of opening dir where this user may not write
// there. To read a store takes writing, too: SQLite keeps files beside its own.
func mayWrite(dir string, err error) error {
	if errors.Is(err, eventstore.ErrInUse) || errors.Is(err, eventstore.ErrCorrupt) || errors.Is(err, sqlite.ErrNotStore) {
		return err
	}
	for _, path := range []string{dir, filepath.Join(dir, "lock"), filepath.Join(dir, "log.db")} {
		const write = 2
		if no := syscall.Access(path, write); no != nil && !errors.Is(no, fs.ErrNotExist) {
			return fmt.Errorf("%s cannot be written (%w): only 'verify' works on a store without writing beside its files: be the user whose it is, or work on a copy of the whole directory", path, no)
		}
	}
	return err
}
