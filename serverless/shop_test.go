package serverless_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/serverless"
)

// A shop whose consumers fail, take their time and hang, and which is stopped
// again and again while they do.

type Placed struct{ Order string }

func (Placed) EventType() string { return "placed" }

type Charged struct{ Order string }

func (Charged) EventType() string { return "charged" }

type Place struct{ Order string }

func (Place) CommandType() string { return "place" }

type Charge struct{ Order string }

func (Charge) CommandType() string { return "charge" }

// shopOrder refuses nothing: what is done twice is there twice.
var shopOrder = aggregate.Define("order",
	aggregate.On(func(*struct{}, Placed) {}),
	aggregate.On(func(*struct{}, Charged) {}))

const (
	// shopGrace is how long functions keep their context once the shop stops.
	shopGrace = 20 * time.Millisecond
	// shopFailures is how often a call fails by itself, for one event, at most:
	// one more would be one too many for the function and the read model, and
	// can only come from a stop.
	shopFailures = 3
	// shopOrders is how many orders are placed in a life.
	shopOrders = 2
	// shopLinger is how long a call takes at most that takes its time: some
	// end after the shop was told to stop.
	shopLinger = 2 * shopGrace
)

// shopDir and shopLife are the environment variables of a shop in a process of
// its own: its directory, and which life it is.
const (
	shopDir  = "LEAT_SHOP_DIR"
	shopLife = "LEAT_SHOP_LIFE"
)

// errShop is a failure of the world outside.
var errShop = errors.New("connection refused")

// notes say what the consumers of the shop were called with and what came of
// it: lines "what who where key", in a file that every life adds to.
type notes struct {
	mu     sync.Mutex // guards what follows
	file   *os.File
	counts map[string]int  // "what who where" to how often
	keys   map[string]bool // "who where key" of all calls
}

func openNotes(path string) (*notes, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	n := &notes{file: f, counts: map[string]int{}, keys: map[string]bool{}}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		n.count(lines.Text())
	}
	return n, lines.Err()
}

func (n *notes) count(line string) {
	parts := strings.SplitN(line, " ", 4)
	n.counts[strings.Join(parts[:3], " ")]++
	if parts[0] == "call" {
		n.keys[parts[1]+" "+parts[2]+" "+parts[3]] = true
	}
}

// add notes what came of a call of who, for the event or order where.
func (n *notes) add(what, who, where, key string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	line := what + " " + who + " " + where + " " + key
	n.count(line)
	_, err := n.file.WriteString(line + "\n")
	return err
}

func (n *notes) failures(who, where string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.counts["fail "+who+" "+where]
}

// shop is one life of the shop.
type shop struct {
	*serverless.Host
	store  *sqlite.Store
	notes  *notes
	model  *serverless.Model
	mended bool
	mu     sync.Mutex // guards chance
	chance *rand.Rand
}

func (s *shop) draw(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.chance.IntN(n)
}

// fate is what becomes of a call: it is done, now or after a while, fails, or
// hangs until its context ends. It notes which, unless it is done.
func (s *shop) fate(ctx context.Context, who, where, key string, fails bool) error {
	if err := s.notes.add("call", who, where, key); err != nil {
		return err
	}
	draw := s.draw(100)
	switch {
	case s.mended || draw < 45:
	case draw < 55:
		select {
		case <-time.After(time.Duration(s.draw(int(shopLinger)))):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), s.notes.add("cut", who, where, key))
		}
	case draw < 80 && fails && s.notes.failures(who, where) < shopFailures:
		return errors.Join(errShop, s.notes.add("fail", who, where, key))
	default:
		<-ctx.Done()
		if err := s.notes.add("cut", who, where, key); err != nil {
			return err
		}
		return []error{ctx.Err(), errShop, fmt.Errorf("call: %w", context.Cause(ctx))}[s.draw(3)]
	}
	return nil
}

const shopSQL = `CREATE TABLE seen (position INTEGER PRIMARY KEY, times INTEGER NOT NULL) STRICT`

// shopModel is a read model of which events it was given, and how often.
func (s *shop) shopModel(name string, fails bool, opts ...projection.Option) *projection.Definition {
	return projection.Define(name, 1, shopSQL, append(opts, projection.OnFailure(projection.Park),
		projection.On(func(ctx context.Context, tx *projection.Tx, e eventstore.Of[Placed]) error {
			if err := s.fate(ctx, name, strconv.FormatInt(e.Position, 10), e.ID.String(), fails); err != nil {
				return err
			}
			_, err := tx.Exec(`
				INSERT INTO seen (position, times)
				VALUES (?, 1)
				ON CONFLICT (position) DO UPDATE
				SET times = times + 1`, e.Position)
			return err
		}))...)
}

// Names of the consumers of the shop. Those that are patient never fail by
// themselves, and have but one attempt.
const (
	mailer, patientMailer = "mailer", "patient-mailer"
	orders, patientOrders = "orders", "patient-orders"
)

// openShop opens the shop in dir. Its notes are beside the store.
func openShop(ctx context.Context, dir string, seed uint64, mended bool) (*shop, error) {
	store, err := sqlite.Open(ctx, filepath.Join(dir, "store"), &sqlite.Options{Logger: quiet()})
	if err != nil {
		return nil, err
	}
	s := &shop{store: store, mended: mended, chance: rand.New(rand.NewPCG(seed, 0))}
	if s.notes, err = openNotes(filepath.Join(dir, "notes")); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	s.Host = serverless.New(store, &serverless.Options{Logger: quiet(), Grace: shopGrace})
	repository := aggregate.NewRepository(store, shopOrder, nil)
	serverless.Command(s.Host, "place", func(ctx context.Context, c Place) (eventstore.Commit, error) {
		return repository.Update(ctx, c.Order, func(*struct{}) (aggregate.Events, error) { return aggregate.Events{Placed(c)}, nil })
	})
	serverless.Command(s.Host, "charge", func(ctx context.Context, c Charge) (eventstore.Commit, error) {
		if s.draw(10) == 0 && !s.mended {
			return eventstore.Commit{}, fmt.Errorf("charge: %w", eventstore.ErrBusy)
		}
		if err := s.fate(ctx, "charge", c.Order, "-", true); err != nil {
			return eventstore.Commit{}, err
		}
		commit, err := repository.Update(ctx, c.Order, func(*struct{}) (aggregate.Events, error) { return aggregate.Events{Charged(c)}, nil })
		if err != nil {
			return commit, err
		}
		return commit, s.notes.add("done", "charge", c.Order, "-")
	})
	s.Saga(saga.Define("billing", 1,
		saga.Starts(func(e Placed) string { return e.Order }, func(_ *struct{}, c *saga.Context, e Placed) error {
			c.Send(Charge(e))
			return nil
		}),
		saga.On(func(e Charged) string { return e.Order }, func(_ *struct{}, c *saga.Context, _ Charged) error {
			c.Complete()
			return nil
		})))
	s.onPlaced(mailer, true, shopFailures+1, serverless.Concurrency(2))
	s.onPlaced(patientMailer, false, 1)
	s.model = s.Project(s.shopModel(orders, true, projection.Retries(shopFailures+1, 24*time.Hour)))
	s.Project(s.shopModel(patientOrders, false, projection.Retries(1, 24*time.Hour)))
	return s, nil
}

func (s *shop) onPlaced(name string, fails bool, attempts int, opts ...serverless.EventOption) {
	serverless.OnEvent(s.Host, name, func(ctx context.Context, e eventstore.Of[Placed]) error {
		position, id := strconv.FormatInt(e.Position, 10), e.ID.String()
		if err := s.fate(ctx, name, position, id, fails); err != nil {
			return err
		}
		return s.notes.add("done", name, position, id)
	}, append(opts, serverless.FromStart(), serverless.OnFailure(serverless.Park),
		serverless.Retry(serverless.RetryPolicy{Attempts: attempts, First: time.Millisecond, Longest: 4 * time.Millisecond}))...)
}

// place places the orders of a life, notes what was acknowledged, and calls
// placed after the first.
func (s *shop) place(ctx context.Context, life int, placed func()) error {
	for i := range shopOrders {
		order := fmt.Sprintf("%d.%d", life, i)
		_, err := s.Do(ctx, serverless.Request{Function: "place", ID: order, Payload: Place{Order: order}})
		if errors.Is(err, serverless.ErrClosed) {
			return nil // the stop was faster
		}
		if err != nil {
			return err
		}
		if err := s.notes.add("acked", "order", order, "-"); err != nil {
			return err
		}
		if i == 0 {
			placed()
		}
	}
	return nil
}

// close closes what Run does not.
func (s *shop) close() error {
	return errors.Join(s.Close(), s.store.Close(), s.notes.file.Close())
}

// shopChild is a life of the shop in a process of its own, until SIGTERM.
func shopChild(dir, life string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	n, err := strconv.Atoi(life)
	fail(err)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	s, err := openShop(ctx, dir, uint64(n), false)
	fail(err)
	fail(s.Open(ctx))
	placing := make(chan error, 1)
	go func() { placing <- s.place(context.Background(), n, func() { fmt.Println("ready") }) }()
	fail(s.Run(ctx))
	fail(<-placing)
	fail(s.close())
}
