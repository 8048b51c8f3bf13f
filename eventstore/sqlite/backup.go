package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/leat-go/leat/internal/disk"
)

// Backup copies the log, as of now and compact, into a new directory dst,
// which Open then opens as a store, and syncs it. It may run beside appends.
// The copy keeps the log's epoch: only one of the two may go on.
func (s *Store) Backup(ctx context.Context, dst string) (err error) {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.working.Done()
	if entries, err := os.ReadDir(dst); err == nil && len(entries) > 0 {
		return fmt.Errorf("eventstore/sqlite: back up %s: %s is not empty: name a new directory", s.dir, dst)
	}
	if _, err := makeDir(dst); err != nil {
		return err
	}
	if err := s.db.VacuumInto(ctx, filepath.Join(dst, logName)); err != nil {
		return fileError(s.db.Path(), "back up", err)
	}
	return disk.SyncPath(dst)
}
