package verify_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
	"github.com/leat-go/leat/eventstore/sqlite"
	"github.com/leat-go/leat/serverless"
	"github.com/leat-go/leat/verify"
)

func TestASoundStoreHasNoFindingsAndIsNotChanged(t *testing.T) {
	t.Run("closed", func(t *testing.T) {
		dir := t.TempDir()
		_, stop := desk(t, dir, 10)
		stop()
		r := unchanged(t, dir)
		require.Empty(t, r.Findings)
		require.Equal(t, verify.PrivateCopy, r.Looked)
		require.Equal(t, int64(20), r.Log.Events)
		require.Equal(t, int64(20), r.Log.Position)
		require.Equal(t, []string{"consumers.db", "sagas.db", "views/counts.v1.1.db"}, r.Files)
		require.Len(t, r.Consumers, 3)
		for _, c := range r.Consumers {
			require.NotZero(t, c.Position)
			require.Equal(t, r.Log.Epoch, c.Epoch)
			require.Equal(t, r.Log.Position-c.Position, c.Behind)
		}
	})
	t.Run("killed", func(t *testing.T) {
		from := t.TempDir()
		_, stop := desk(t, from, 10)
		dir := killed(t, from)
		stop()
		require.FileExists(t, filepath.Join(dir, "log.db-wal"))
		r := unchanged(t, dir)
		require.Empty(t, r.Findings)
		require.Equal(t, int64(20), r.Log.Events, "what is in the write-ahead log as well")
		require.Equal(t, r, unchanged(t, dir))
	})
	t.Run("without a lock file", func(t *testing.T) {
		dir := t.TempDir()
		_, stop := desk(t, dir, 3)
		stop()
		require.NoError(t, os.Remove(filepath.Join(dir, "lock")))
		require.Empty(t, unchanged(t, dir).Findings)
	})
	t.Run("only read", func(t *testing.T) {
		dir := t.TempDir()
		_, stop := desk(t, dir, 3)
		stop()
		readOnly(t, dir)
		require.Empty(t, unchanged(t, dir).Findings)
	})
	t.Run("empty", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, open(t, dir).Close())
		r := unchanged(t, dir)
		require.Empty(t, r.Findings)
		require.Zero(t, r.Log.Events)
	})
	t.Run("under another name", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, open(t, filepath.Join(dir, "a ?#%")).Close())
		require.NoError(t, os.Symlink("a ?#%", filepath.Join(dir, "link")))
		r, err := verify.Dir(t.Context(), filepath.Join(dir, "link"))
		require.NoError(t, err)
		require.Empty(t, r.Findings)
	})
}

func TestASoundStoreThatIsOpenForReadingInThisProcessHasNoFindings(t *testing.T) {
	dir := t.TempDir()
	_, stop := desk(t, dir, 3)
	stop()
	s, err := sqlite.OpenReadOnly(t.Context(), dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	r, err := verify.Dir(t.Context(), dir)
	require.NoError(t, err)
	require.Empty(t, r.Findings)
	require.Equal(t, verify.BesideOwner, r.Looked, "copying would drop the locks of the one that is open")
}

func TestVerifyBesideAnOwnerAtFullLoadFindsNothing(t *testing.T) {
	dir := t.TempDir()
	_, stop := desk(t, dir, 5)
	stop()
	store := open(t, dir)
	h := wire(store)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		if err := h.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	for a := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if _, err := store.Append(context.Background(), ask(fmt.Sprint("load-", a, "-", i))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	looks, last := 5, verify.Report{}
	if testing.Short() {
		looks = 2
	}
	for range looks {
		_, err := store.Wait(t.Context(), last.Log.Position+100)
		require.NoError(t, err)
		r, err := verify.Dir(t.Context(), dir)
		require.NoError(t, err)
		require.Empty(t, r.Findings)
		require.Equal(t, verify.BesideOwner, r.Looked)
		require.Greater(t, r.Log.Position, last.Log.Position)
		require.Len(t, r.Consumers, 3)
		for _, c := range r.Consumers {
			require.Equal(t, max(0, r.Log.Position-c.Position), c.Behind, "measured against the end of the log that the report names")
		}
		last = r
	}
	cancel()
	wg.Wait()
	require.NoError(t, h.Close())
	require.NoError(t, store.Close())
	require.Empty(t, unchanged(t, dir).Findings)
}

func TestOwnersComeAndGoWhileItIsVerified(t *testing.T) {
	dir := t.TempDir()
	_, stop := desk(t, dir, 5)
	stop()
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			s, err := sqlite.Open(context.Background(), dir, &sqlite.Options{Logger: quiet()})
			if err != nil {
				continue // it is being copied
			}
			if _, err := s.Append(context.Background(), ask(fmt.Sprint(time.Now().UnixNano()))); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	for range 10 {
		r, err := verify.Dir(t.Context(), dir)
		require.NoError(t, err)
		require.Empty(t, r.Findings)
	}
	close(done)
	wg.Wait()
	require.Empty(t, unchanged(t, dir).Findings)
}

// from puts files of another directory into one.
func from(other string, names ...string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		for _, name := range names {
			data, err := os.ReadFile(filepath.Join(other, name))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
		}
	}
}

// requireFinding demands a finding, and of each that somebody can use it.
func requireFinding(t *testing.T, r verify.Report, file, place, says string) {
	t.Helper()
	found := false
	for _, f := range r.Findings {
		require.NotEmpty(t, f.Remedy, "%v", f)
		require.NotContains(t, f.String(), "leat-verify-", "the copy is nobody's concern")
		require.NotContains(t, f.String(), "\n")
		found = found || f.File == file && f.Place == place && contains(f.Reason, says)
	}
	require.True(t, found, "%+v", r.Findings)
}

func TestDamageIsFoundWithPlaceAndRemedy(t *testing.T) {
	good := t.TempDir()
	_, stop := desk(t, good, 10)
	stop()
	older := t.TempDir()
	copyTree(t, good, older)
	s := open(t, good)
	for i := range 3 {
		_, err := s.Append(t.Context(), ask(fmt.Sprint("more-", i)))
		require.NoError(t, err)
	}
	h := wire(s)
	_, err := h.Drain(t.Context(), serverless.Budget{Time: time.Minute})
	require.NoError(t, err)
	require.NoError(t, h.Close())
	require.NoError(t, s.Close())

	for name, c := range map[string]struct {
		damage      func(t *testing.T, dir string)
		file, place string
		says        string
	}{
		"a changed event":   {changing("log.db", `UPDATE events SET data = X'00' WHERE position = 7`), "log.db", "position 7", "not what was written"},
		"a deleted event":   {changing("log.db", `DELETE FROM events WHERE position = 7`), "log.db", "position 8", "missing"},
		"a wrong category":  {changing("log.db", `PRAGMA ignore_check_constraints = 1`, `UPDATE streams SET category = 'x' WHERE id = 1`), "log.db", `stream "desk-0"`, "category"},
		"a lost index":      {changing("log.db", `PRAGMA writable_schema = 1`, `DELETE FROM sqlite_schema WHERE name = 'sqlite_autoindex_batches_1'`), "log.db", "", "sqlite_autoindex_batches_1"},
		"a deleted witness": {removing("witness"), "witness", "", "missing"},
		"a torn witness":    {func(t *testing.T, dir string) { require.NoError(t, os.Truncate(filepath.Join(dir, "witness"), 30)) }, "witness", "", "cannot be read"},
		"another witness":   {func(t *testing.T, dir string) { from(foreign(t), "witness")(t, dir) }, "witness", "", "another log"},
		"an older log":      {from(older, "log.db"), "log.db", "", "acknowledged events are lost"},
		"an older store":    {from(older, "log.db", "witness"), "sagas.db", `consumer "answering"`, "the log ends at 20"},
		"no log":            {removing("log.db"), "log.db", "", "missing or empty"},
		"an empty log":      {func(t *testing.T, dir string) { require.NoError(t, os.Truncate(filepath.Join(dir, "log.db"), 0)) }, "log.db", "", "missing or empty"},
		"no database": {func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "log.db"), make([]byte, 8192), 0o600))
		}, "log.db", "", "not"},
		"a linked log":     {linking("log.db"), "log.db", "", "not a regular file"},
		"linked views":     {linking("views"), "views", "", "not a directory"},
		"a linked witness": {linking("witness"), "witness", "", "not a regular file"},
		"read, not opened": {func(t *testing.T, dir string) { patch(t, filepath.Join(dir, "log.db"), 18, 9) }, "log.db", "", "cannot open it"},
		"an empty index":   {emptyIndex, "log.db", "", "malformed"},
		"a lost view":      {removing("views/counts.v1.1.db"), "views/counts.v1.1.db", "", "missing"},
		"a damaged pointer": {func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "views/counts.live"), []byte("{}"), 0o600))
		}, "views/counts.live", "", "does not name a file"},
		"a lost instance":    {changing("sagas.db", `DELETE FROM instance WHERE id = 1`), "sagas.db", `timer "forget"`, "does not exist"},
		"a moved checkpoint": {changing("consumers.db", `UPDATE checkpoint SET position = 1000`), "consumers.db", `consumer "tell"`, "position 1000, but the log ends at 26"},
		"another history":    {changing("consumers.db", `UPDATE checkpoint SET hash = zeroblob(32)`), "consumers.db", `consumer "tell"`, "another history"},
		"a letter to come":   {changing("consumers.db", `INSERT INTO dead_letter VALUES ('tell', 99, 's', 'e', 't', 'skipped', 1, 1, 1, '', '')`), "consumers.db", `consumer "tell"`, "event at position 99"},
		"a damaged snapshot": {func(t *testing.T, dir string) {
			snapshot(t, dir)
			changing("log.db", `UPDATE snapshots SET state = X'00'`)(t, dir)
		}, "log.db", `snapshot of stream "desk-1" by "fold"`, "not what was saved"},
		"another's consumers": {func(t *testing.T, dir string) { changing("consumers.db", `PRAGMA application_id = 7`)(t, dir) }, "consumers.db", "", "another program's"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			copyTree(t, good, dir)
			c.damage(t, dir)
			r := unchanged(t, dir)
			require.False(t, r.OK())
			requireFinding(t, r, c.file, c.place, c.says)
			raw, err := json.Marshal(r)
			require.NoError(t, err)
			require.Contains(t, string(raw), `"findings":[{"file":"`)
		})
	}
}

func TestWhatIsNoStoreIsAnError(t *testing.T) {
	for name, c := range map[string]struct {
		make func(t *testing.T, dir string) string
		want error
	}{
		"missing":   {func(t *testing.T, dir string) string { return filepath.Join(dir, "none") }, os.ErrNotExist},
		"empty":     {func(t *testing.T, dir string) string { return dir }, sqlite.ErrNotStore},
		"a file":    {func(t *testing.T, dir string) string { return touch(t, dir, "x") }, sqlite.ErrNotStore},
		"others":    {func(t *testing.T, dir string) string { touch(t, dir, "x"); return dir }, sqlite.ErrNotStore},
		"other log": {func(t *testing.T, dir string) string { touch(t, dir, "log.db"); return dir }, sqlite.ErrNotStore},
		"newer": {func(t *testing.T, dir string) string {
			require.NoError(t, open(t, dir).Close())
			changing("log.db", `PRAGMA user_version = 99`)(t, dir)
			return dir
		}, sqlite.ErrNotStore},
	} {
		t.Run(name, func(t *testing.T) {
			dir := c.make(t, t.TempDir())
			_, err := verify.Dir(t.Context(), dir)
			require.ErrorIs(t, err, c.want)
			require.NotContains(t, err.Error(), "leat-verify-")
		})
	}
	dir := t.TempDir()
	require.NoError(t, open(t, dir).Close())
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := verify.Dir(ctx, dir)
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, listing(t, temp), 1, "the copy is removed")
}

func TestNobodyOwnsAStoreWhileItIsCopied(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, open(t, dir).Close())
	one, err := sqlite.Hold(dir)
	require.NoError(t, err)
	two, err := sqlite.Hold(dir)
	require.NoError(t, err, "lookers do not keep each other out")
	_, err = sqlite.Open(t.Context(), dir, nil)
	require.ErrorIs(t, err, eventstore.ErrInUse)
	require.NoError(t, one())
	require.NoError(t, two())
	s := open(t, dir)
	_, err = sqlite.Hold(dir)
	require.ErrorIs(t, err, eventstore.ErrInUse)
	require.NoError(t, s.Close())
}
