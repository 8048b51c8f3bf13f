// Package receipts sends each rider the receipt of a settled ride: an effect on
// the world outside, which happens at least once for every event. The demo's
// mail is a line in a file.
package receipts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/taxi-demo/internal/chaos"
	"github.com/leat-go/leat/taxi-demo/internal/ride"
)

// ErrPoisoned is what chaos makes of a receipt: it can never be sent.
var ErrPoisoned = errors.New("receipts: the rider's address cannot be read")

// Mail sends receipts. It is safe for concurrent use.
type Mail struct {
	// Path is the file that stands for the mail.
	Path  string
	Chaos chaos.Config
}

// Send sends the receipt of a settled ride. The event's id tells a receipt that
// is sent again from another.
func (m Mail) Send(_ context.Context, e eventstore.Of[ride.Settled]) (err error) {
	p := e.Payload
	if slices.Contains(m.Chaos.Plan(p.RideID, true), chaos.Poison) {
		return fmt.Errorf("ride %s: %w", p.RideID, ErrPoisoned)
	}
	// Neither through a link nor into a pipe that nobody reads.
	f, err := os.OpenFile(m.Path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return fmt.Errorf("receipts: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = fmt.Fprintf(f, "%s to %s: ride %s, total $%d.%02d\n", e.ID, oneWord(p.RiderID), oneWord(p.RideID), p.Split.Total()/100, p.Split.Total()%100)
	return err
}

// oneWord quotes an id that could be taken for more than one.
func oneWord(id string) string {
	if quoted := strconv.Quote(id); quoted != `"`+id+`"` || strings.ContainsRune(id, ' ') {
		return quoted
	}
	return id
}

// Injected tells whether the text of a failure is chaos's.
func Injected(text string) bool { return strings.Contains(text, ErrPoisoned.Error()) }
