//go:build unix && !linux

package disk

// fileSystem says nothing: the numbers are Linux's.
func fileSystem(dir string) (uint32, error) {
	kind, _ := pretended(dir)
	return kind, nil
}
