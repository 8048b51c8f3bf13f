package projection

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/eventstore"
)

func TestAnAuditComparesTheLiveFileWithTheFold(t *testing.T) {
	dir, l := t.TempDir(), newTape()
	someMoves(l, 300)
	def := ledger(2, func(e eventstore.Recorded) error {
		if e.Position%97 == 0 {
			return errFault
		}
		return nil
	}, OnFailure(Skip), once)
	audit := func(defs ...*Definition) (Audited, error) {
		scratch := t.TempDir()
		got, err := Audit(t.Context(), dir, l, scratch, defs...)
		left, unread := os.ReadDir(scratch)
		require.NoError(t, unread)
		require.Empty(t, left)
		return got, err
	}
	_, err := audit(def)
	require.ErrorIs(t, err, ErrNoView)

	p, err := Open(t.Context(), dir, l, def, &Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.NoError(t, deliver(t, p, l, 40))
	at := p.Position()
	require.NoError(t, p.Close())
	someMoves(l, 50) // after the checkpoint
	got, err := audit(ledger(1, nil), def)
	require.NoError(t, err)
	require.True(t, got.Identical, got.Difference)
	require.Equal(t, []int64{2, at}, []int64{int64(got.Version), got.Position})
	require.Equal(t, got.LiveDigest, got.Digest)

	_, err = audit(ledger(1, nil), ledger(3, nil))
	require.ErrorIs(t, err, ErrNewer)
	_, err = audit()
	require.ErrorIs(t, err, ErrInvalid)

	p = openTest(t, dir, l, def)
	_, err = p.live.db.Writer().Exec(`UPDATE account SET mix = mix + 1 WHERE id = 'a-2'`)
	require.NoError(t, err)
	got, err = audit(def)
	require.NoError(t, err)
	require.False(t, got.Identical)
	require.Contains(t, got.Difference, `account: live has (id="a-2"`)
}

func TestAnAuditRemovesNoFileButItsOwn(t *testing.T) {
	dir, l := t.TempDir(), newTape()
	someMoves(l, 20)
	def := ledger(1, nil)
	p := openTest(t, dir, l, def)
	require.NoError(t, deliver(t, p, l, 40))
	require.NoError(t, p.Close())
	_, err := Audit(t.Context(), dir, l, filepath.Join(dir, viewsDir), def)
	require.ErrorIs(t, err, fs.ErrExist)
	require.FileExists(t, p.files.path(p.live.id))
}
