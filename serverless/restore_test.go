package serverless_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/bus"
	"github.com/leat-go/leat/clock"
	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/projection"
	"github.com/leat-go/leat/saga"
	"github.com/leat-go/leat/serverless"
	"github.com/leat-go/leat/verify"
)

// backUp takes a backup of the store and returns its directory.
func backUp(t testing.TB, store *sqlite.Store) string {
	t.Helper()
	dst := filepath.Join(t.TempDir(), "backup")
	require.NoError(t, store.Backup(t.Context(), dst))
	return dst
}

// restored restores a backup into a new directory and returns that.
func restored(t testing.TB, backup string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "restored")
	_, err := sqlite.Restore(t.Context(), backup, dir, nil)
	require.NoError(t, err)
	return dir
}

// TestRestoreKnowsTheSchemaOfEveryFile: the log knows the files beside it by
// the digests of their schemas only. Where this fails because of a new
// migration, its digest is in the error, and belongs into the list of
// companions in package eventstore/sqlite.
func TestRestoreKnowsTheSchemaOfEveryFile(t *testing.T) {
	b := newBank(t, t.TempDir(), serverless.Options{}, withSaving, (&calls{}).register())
	b.deposit(t, "ada", 100)
	b.drain(t)
	r, err := sqlite.Restore(t.Context(), backUp(t, b.store), filepath.Join(t.TempDir(), "restored"), nil)
	require.NoError(t, err)
	require.Equal(t, []string{"consumers.db", "sagas.db", "log.db"}, r.Files)
}

func TestARestoredDirectoryGoesOnAsIfNothingHadHappened(t *testing.T) {
	whole := newBank(t, t.TempDir(), serverless.Options{Clock: clock.NewVirtual(epoch)}, withSaving, withPlanner(12))
	whole.drain(t)
	want := rows(t, whole, amounts)
	for _, minutes := range []int{2, 11} {
		first := &calls{}
		b := newBank(t, t.TempDir(), serverless.Options{Clock: clock.NewVirtual(epoch)}, withSaving, withPlanner(12), first.register())
		_, err := b.Drain(t.Context(), serverless.Budget{Until: epoch.Add(time.Duration(minutes) * time.Minute)})
		require.NoError(t, err)
		backup := backUp(t, b.store)
		before := len(first.take())
		b.drain(t) // what happens after the backup is lost

		dir, second := restored(t, backup), &calls{}
		require.NoDirExists(t, filepath.Join(dir, "views"), "read models are built again")
		again := newBank(t, dir, serverless.Options{Clock: clock.NewVirtual(epoch)}, withSaving, withPlanner(12), second.register())
		again.drain(t)
		require.Equal(t, want, rows(t, again, amounts), "after %d minutes", minutes)
		require.Equal(t, 12*plan, before+len(second.take()), "each event is handed to the function once")
	}
}

// TestABackupHasTheNamesThatSagasHad: what was restored refuses the program of
// before a renaming, as the store does, and goes on under the ids of before.
func TestABackupHasTheNamesThatSagasHad(t *testing.T) {
	as := func(d *saga.Definition) func(*bank) { return func(b *bank) { withSavingAs(b, d) } }
	whole := newBank(t, t.TempDir(), serverless.Options{Clock: clock.NewVirtual(epoch)}, withSaving, withPlanner(3))
	whole.drain(t)
	want := rows(t, whole, amounts)

	renamed := savingAs("thrift", saga.Was("saving"))
	part := func(dir string, d *saga.Definition, minutes int) *bank {
		b := newBank(t, dir, serverless.Options{Clock: clock.NewVirtual(epoch)}, as(d), withPlanner(3))
		_, err := b.Drain(t.Context(), serverless.Budget{Until: epoch.Add(time.Duration(minutes) * time.Minute)})
		require.NoError(t, err)
		return b
	}
	dir := t.TempDir()
	b := part(dir, defineSaving(), 2)
	require.NoError(t, b.Host.Close())
	require.NoError(t, b.store.Close())
	b = part(dir, renamed, 4)
	backup := backUp(t, b.store)
	r, err := verify.Dir(t.Context(), backup)
	require.NoError(t, err)
	require.Empty(t, r.Findings)

	refused := restored(t, backup)
	old := newBank(t, refused, serverless.Options{}, withSaving)
	require.ErrorIs(t, old.Open(t.Context()), saga.ErrStart)
	require.NoError(t, old.store.Close())
	again := newBank(t, refused, serverless.Options{Clock: clock.NewVirtual(epoch)}, as(renamed), withPlanner(3))
	again.drain(t)
	require.Equal(t, want, rows(t, again, amounts))
}

// TestAHostileFileBesideTheLogIsRefused: sagas and functions would run what is
// in it.
func TestAHostileFileBesideTheLogIsRefused(t *testing.T) {
	b := newBank(t, t.TempDir(), serverless.Options{}, withSaving, (&calls{}).register())
	b.deposit(t, "ada", 100)
	b.drain(t)
	for _, file := range []string{"sagas.db", "consumers.db"} {
		for name, damage := range map[string]func(path string){
			"a trigger": func(path string) {
				tamper(t, path, "CREATE TRIGGER x AFTER UPDATE ON "+tableOf(file)+" BEGIN DELETE FROM "+tableOf(file)+"; END")
			},
			"a view":      func(path string) { tamper(t, path, "CREATE VIEW x AS SELECT 1") },
			"a table":     func(path string) { tamper(t, path, "CREATE TABLE x (y)") },
			"a column":    func(path string) { tamper(t, path, "ALTER TABLE "+tableOf(file)+" ADD COLUMN x TEXT") },
			"no table":    func(path string) { tamper(t, path, "DROP TABLE "+tableOf(file)) },
			"half a file": func(path string) { require.NoError(t, os.Truncate(path, 9000)) },
			"a newer one": func(path string) { tamper(t, path, "PRAGMA user_version = 99") },
			"a directory": func(path string) { require.NoError(t, os.Remove(path)); require.NoError(t, os.Mkdir(path, 0o700)) },
			"a link": func(path string) {
				require.NoError(t, os.Rename(path, path+".moved"))
				require.NoError(t, os.Rename(path+".moved", filepath.Join(t.TempDir(), "x.db")))
				require.NoError(t, os.Symlink(filepath.Join(t.TempDir(), "x.db"), path))
			},
		} {
			t.Run(file+"/"+name, func(t *testing.T) {
				backup := backUp(t, b.store)
				damage(filepath.Join(backup, file))
				above := t.TempDir()
				for _, accept := range []bool{false, true} {
					_, err := sqlite.Restore(t.Context(), backup, filepath.Join(above, "store"), &sqlite.RestoreOptions{AcceptLoss: accept})
					require.Error(t, err)
					require.NotContains(t, err.Error(), "\n")
					require.True(t, errors.Is(err, eventstore.ErrCorrupt) || errors.Is(err, sqlite.ErrNotStore), "%v", err)
					entries, err := os.ReadDir(above)
					require.NoError(t, err)
					require.Empty(t, entries)
				}
			})
		}
	}
}

func tableOf(file string) string {
	return map[string]string{"sagas.db": "instance", "consumers.db": "checkpoint"}[file]
}

func tamper(t testing.TB, path, statements string) {
	t.Helper()
	db, err := sql.Open("sqlite3", path)
	require.NoError(t, err)
	_, err = db.Exec(statements)
	require.NoError(t, errors.Join(err, db.Close()))
}

// depositOnce appends a deposit to each of count accounts.
func depositOnce(t *testing.T, store *sqlite.Store, prefix string, count int) {
	for i := range count {
		e, err := eventstore.Encode(Deposited{Account: fmt.Sprintf("%s%d", prefix, i), Cents: 1})
		require.NoError(t, err)
		_, err = store.Append(t.Context(), eventstore.Batch{Writes: []eventstore.Write{{Stream: fmt.Sprintf("account-%s%d", prefix, i), Events: []eventstore.EventData{e}}}})
		require.NoError(t, err)
	}
}

// putInto has dir hold these of another directory in place of its own.
func putInto(t *testing.T, dir, from string, names ...string) {
	for _, name := range names {
		require.NoError(t, os.RemoveAll(filepath.Join(dir, name)))
		require.NoError(t, os.Rename(filepath.Join(from, name), filepath.Join(dir, name)))
	}
}

// TestConsumersPastTheHeadOfARestoredLogStopAndSaySo puts an older log under
// newer consumers, which is what somebody does who restores log.db alone.
func TestConsumersPastTheHeadOfARestoredLogStopAndSaySo(t *testing.T) {
	const n, more = 4, 3
	dir, seen, sent := t.TempDir(), &calls{}, &outside{}
	offsets := bus.NewMemoryCheckpoints()
	b := newBank(t, dir, serverless.Options{}, func(b *bank) { b.Saga(mirror()) }, seen.register(serverless.FromStart()))
	b.drain(t)
	depositOnce(t, b.store, "a", n)
	b.drain(t)
	require.NoError(t, relay(t, b.store, sent, offsets))
	backup := backUp(t, b.store)
	depositOnce(t, b.store, "ab", more)
	b.drain(t)
	require.NoError(t, relay(t, b.store, sent, offsets))
	head, err := b.store.Head(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(2*(n+more)), head)
	require.NoError(t, errors.Join(b.Close(), b.store.Close()))

	mixed := restored(t, backup)
	putInto(t, mixed, dir, "consumers.db", "sagas.db", "views")
	store := openStore(t, mixed, nil)
	depositOnce(t, store, "o", 2*more+5) // past where the consumers are
	seen.take()
	sent.take()
	says := func(err error, consumer string) {
		t.Helper()
		require.ErrorContains(t, err, fmt.Sprintf("%q is at position %d", consumer, head))
		require.ErrorContains(t, err, fmt.Sprintf("restored after position %d", 2*n))
		require.ErrorContains(t, err, "nothing is applied")
		t.Log(err)
	}

	for consumer, register := range map[string]func(*serverless.Host){
		"mirror":   func(h *serverless.Host) { h.Saga(mirror()) },
		"balances": func(h *serverless.Host) { h.Project(defineBalances(1)) },
	} {
		h := serverless.New(store, &serverless.Options{Logger: quiet()})
		register(h)
		err = h.Open(t.Context())
		require.ErrorIs(t, err, eventstore.ErrRewound)
		says(err, consumer)
		require.NoError(t, h.Close())
	}

	h := serverless.New(store, &serverless.Options{Logger: quiet()})
	serverless.OnEvent(h, "receipt", seen.handle)
	_, err = h.Drain(t.Context(), serverless.Budget{Time: time.Minute})
	require.ErrorIs(t, err, serverless.ErrBlocked)
	says(err, "receipt")
	require.NoError(t, h.Close())

	err = relay(t, store, sent, offsets)
	require.ErrorIs(t, err, eventstore.ErrRewound)
	says(err, "relay")
	require.Empty(t, seen.take(), "nothing is handed to the function")
	require.Empty(t, sent.take(), "nor to the world outside")

	// The read model is built again; the files that are nowhere else come from
	// the backup.
	require.NoError(t, projection.Remove(mixed, "balances"))
	require.NoError(t, store.Close())
	putInto(t, mixed, restored(t, backup), "consumers.db", "sagas.db")
	again := newBank(t, mixed, serverless.Options{}, func(b *bank) { b.Saga(mirror()) }, seen.register(serverless.FromStart()))
	again.drain(t)
	require.Len(t, seen.take(), 2*more+5)
	require.Len(t, rows(t, again, amounts), 2*n+2*more+5)
}

// outside is a broker.
type outside struct{ sent []string }

func (o *outside) Publish(_ string, messages ...*message.Message) error {
	for _, m := range messages {
		o.sent = append(o.sent, m.UUID)
	}
	return nil
}

func (o *outside) Close() error { return nil }

func (o *outside) take() []string {
	sent := o.sent
	o.sent = nil
	return sent
}

// relay relays what there is, or returns why it cannot.
func relay(t *testing.T, store *sqlite.Store, to *outside, cp bus.Checkpoints) error {
	t.Helper()
	head, err := store.Head(t.Context())
	require.NoError(t, err)
	r, err := bus.NewRelay(store, to, cp, nil)
	require.NoError(t, err)
	router, err := bus.NewRouter(store, &bus.RouterOptions{Logger: quiet()})
	require.NoError(t, err)
	require.NoError(t, router.Add(r))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- router.Run(ctx) }()
	<-router.Running()
	require.NoError(t, router.Settle(ctx, head))
	err = router.Status()[0].Err
	cancel()
	require.NoError(t, <-ended)
	return err
}
