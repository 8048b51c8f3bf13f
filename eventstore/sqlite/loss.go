package sqlite

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/leat-go/leat/eventstore"
	file "github.com/leat-go/leat/internal/sqlite"
)

// loss is what a Restore would lose that was acknowledged.
type loss struct{ where, what string }

// lose notes a loss. Whether it is accepted is asked when the rest was found
// sound: where it is not, to accept the loss does not help.
func (r *restoration) lose(where, what string) { r.losses = append(r.losses, loss{where, what}) }

// bear accepts the losses where the caller does, else returns them.
func (r *restoration) bear() error {
	var all []string
	for _, l := range r.losses {
		all = append(all, l.what)
	}
	if len(all) > 0 && !r.opts.AcceptLoss {
		return &eventstore.CorruptError{Where: r.losses[0].where, Reason: strings.Join(all, "; ") + ": " + anotherBackup + ", or accept the loss (AcceptLoss)"}
	}
	r.result.Lost = all
	return nil
}

// damaged has the error of a file that is none of a store say that the backup
// is damaged, where it is known not to be what it was.
func (r *restoration) damaged(err error) error {
	if len(r.losses) == 0 || r.opts.AcceptLoss || !errors.Is(err, ErrNotStore) || errors.Is(err, file.ErrNewer) {
		return err
	}
	l := r.losses[0]
	found := strings.TrimPrefix(err.Error(), ErrNotStore.Error()+": ")
	if at := adviceOfOwner.FindStringIndex(found); at != nil {
		found = strings.TrimRight(found[:at[0]], ":; ")
	}
	return &eventstore.CorruptError{Where: l.where, Reason: fmt.Sprintf("%s (%s): %s", l.what, found, anotherBackup)}
}

// adviceOfOwner is what somebody who has a store is told to do.
var adviceOfOwner = regexp.MustCompile(`(?:name another directory, or )?restore (?:it|the file|the store) from a backup`)

// adviceOnWitness ends what is said of a witness by whoever opens a store.
var adviceOnWitness = regexp.MustCompile(`[:;] (?:have Verify look at a copy .*|restore it from a backup)$`)

// atRestore has an error speak to somebody who restores a backup, and not to
// somebody who should.
func atRestore(err error) error {
	text := err.Error()
	told := adviceOfOwner.ReplaceAllString(text, anotherBackup)
	if told == text {
		return err
	}
	if corrupt, ok := errors.AsType[*eventstore.CorruptError](err); ok {
		corrupt.Reason = adviceOfOwner.ReplaceAllString(corrupt.Reason, anotherBackup)
	}
	return &relocated{err: err, text: told}
}
