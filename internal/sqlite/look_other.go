//go:build unix && !linux

package sqlite

func look(path string) (identity, int64, error) { return lstat(path) }
