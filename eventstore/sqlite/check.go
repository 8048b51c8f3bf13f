//go:build unix

package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/leat-go/leat/eventstore"
)

const anotherBackup = "take another backup"

// IsBackup tells whether dir holds the manifest that only Backup writes, so that
// it is a backup and no store. It is false where dir is not there. A backup
// whose manifest was lost cannot be told from a store.
func IsBackup(dir string) (bool, error) {
	_, err := os.Lstat(filepath.Join(dir, manifestName))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("eventstore/sqlite: %w", err)
	}
	return true, nil
}

// CheckBackup compares the files of a backup with its manifest: their names,
// sizes and SHA-256, and changes nothing. It returns a finding for each that is
// missing, not what was backed up, or not part of the backup, and for a manifest
// that cannot be read. It reads each file once, and does not look at what is in
// them: see Restore and package verify. Nobody in this process may have the
// backup open meanwhile. An error means that it could not look, or that dir is
// no backup (ErrNotStore).
func CheckBackup(ctx context.Context, dir string) (findings []eventstore.Finding, err error) {
	m, err := readManifest(filepath.Join(dir, manifestName))
	var corrupt *eventstore.CorruptError
	if errors.As(err, &corrupt) {
		return []eventstore.Finding{{File: manifestName, Reason: corrupt.Reason, Remedy: anotherBackup}}, nil
	}
	if err != nil {
		return nil, err
	}
	if m == nil {
		return nil, fmt.Errorf("%w: %s holds no %s: it is no backup", ErrNotStore, dir, manifestName)
	}
	add := func(d difference) {
		findings = append(findings, eventstore.Finding{File: d.name, Reason: "it " + d.what, Remedy: anotherBackup})
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("eventstore/sqlite: %w", err)
	}
	var files []part
	known, strangers := sortOut(entries)
	for _, name := range known {
		if name == manifestName {
			continue
		}
		p, err := measure(ctx, filepath.Join(dir, name), name)
		if errors.As(err, &corrupt) {
			p, err = part{Name: name}, nil
			for _, f := range m.Files { // so that it is found once
				if f.Name == name {
					p = f
				}
			}
			add(difference{name, strings.TrimPrefix(corrupt.Reason, "it ")})
		}
		if err != nil {
			return nil, err
		}
		files = append(files, p)
	}
	for _, name := range strangers { // of which nothing is read
		files = append(files, part{Name: name})
	}
	for _, d := range m.differences(files) {
		add(d)
	}
	if len(findings) > 0 {
		return findings, nil
	}
	said, err := readTestimony(filepath.Join(dir, witnessName))
	if err != nil && !errors.Is(err, eventstore.ErrCorrupt) { // which is what was backed up
		return nil, err
	}
	for _, d := range m.agrees(said) {
		add(d)
	}
	return findings, nil
}
