package sqlite

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// SchemaDigest names the file's schema, for who may not know the migrations
// that make it: files of one schema have one digest, others another. version is
// the number of migrations that the file says it has seen.
func (db *DB) SchemaDigest(ctx context.Context) (version int, digest string, err error) {
	h, err := readHeader(ctx, db.read)
	if err != nil {
		return 0, "", wrapOpen(db.path, err)
	}
	rows, err := db.read.QueryContext(ctx, selectSchema+`
	ORDER BY name, type, rowid`)
	if err != nil {
		return 0, "", wrapOpen(db.path, err)
	}
	defer func() { _ = rows.Close() }() // read to its end, or given up
	sum := sha256.New()
	for rows.Next() {
		var o object
		var root int64
		if err := rows.Scan(&o.kind, &o.name, &o.table, &o.sql, &root); err != nil {
			return 0, "", wrapOpen(db.path, err)
		}
		for _, part := range []string{o.kind, o.name, o.table, o.sql} {
			_, _ = fmt.Fprintf(sum, "%d:%s", len(part), part) // a hash takes everything
		}
	}
	if err := rows.Err(); err != nil {
		return 0, "", wrapOpen(db.path, err)
	}
	return h.Version, hex.EncodeToString(sum.Sum(nil)), nil
}
