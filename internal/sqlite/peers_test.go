package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leat-go/leat/internal/sqlite"
)

// Bugs of the driver that files are opened with: docs/peers.md lists them all.

// There: a context that ended while BEGIN ran gave an error and an open
// transaction, and the connection went back to the pool with it.
// Here: writes whose context ends at any moment, and the writes after them.
func TestMattn764_ACancelledBeginLeavesNoTransactionBehind(t *testing.T) {
	db := open(t, sqlite.Options{})
	stored := 0
	for i := range 500 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		ran := false
		err := db.Write(ctx, func(tx *sqlite.Tx) error {
			ran = true
			_, err := tx.Exec("INSERT INTO t (v) VALUES ('cancelled')")
			return err
		})
		if err == nil {
			stored++
		} else {
			require.ErrorIs(t, err, context.Canceled, "write %d", i)
			require.False(t, ran, "write %d: it began, so the context had no say any more", i)
		}
		require.NoError(t, db.Write(t.Context(), func(tx *sqlite.Tx) error {
			require.False(t, tx.Ended())
			_, err := tx.Exec("INSERT INTO t (v) VALUES ('next')")
			return err
		}), "after write %d", i)
		stored++
		cancel()
	}
	require.Equal(t, stored, count(t, db))
}

// There: cancelling one statement interrupted all that were active on the
// connection, though their contexts lived.
// Here: rows that are open while another context ends: the transaction's, or
// that of another query.
func TestMattn681_ACancellationReachesNoOtherStatement(t *testing.T) {
	db := open(t, sqlite.Options{})
	insert := func(tx *sqlite.Tx) error {
		for i := range 10 {
			if _, err := tx.Exec("INSERT INTO t (v) VALUES (?)", fmt.Sprint(i)); err != nil {
				return err
			}
		}
		return nil
	}
	require.NoError(t, db.Write(t.Context(), insert))

	ctx, cancel := context.WithCancel(t.Context())
	seen := 0
	require.NoError(t, db.Write(ctx, func(tx *sqlite.Tx) (err error) {
		outer, err := tx.Query("SELECT id FROM t")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, outer.Close()) }()
		for outer.Next() {
			seen++
			inner, err := tx.Query("SELECT id FROM t")
			if err != nil {
				return err
			}
			require.True(t, inner.Next())
			cancel()
			require.NoError(t, inner.Close())
			if _, err := tx.Exec("UPDATE t SET v = v || '!'"); err != nil {
				return err
			}
		}
		return outer.Err()
	}))
	require.Equal(t, 10, seen)

	outer, err := db.Reader().QueryContext(t.Context(), "SELECT id FROM t WHERE v LIKE '%!!!!!!!!!!'")
	require.NoError(t, err)
	defer func() { require.NoError(t, outer.Close()) }()
	for seen = 0; outer.Next(); seen++ {
		ctx, cancel := context.WithCancel(t.Context())
		inner, err := db.Reader().QueryContext(ctx, "SELECT a.id FROM t AS a, t AS b, t AS c")
		require.NoError(t, err)
		require.True(t, inner.Next())
		cancel()
		for inner.Next() {
		}
		_ = inner.Close() // cancelled, or not any more
	}
	require.NoError(t, outer.Err())
	require.Equal(t, 10, seen)
}
