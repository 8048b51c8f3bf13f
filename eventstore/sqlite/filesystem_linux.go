package sqlite

import (
	"fmt"
	"os"
	"syscall"
)

// networkFileSystems do not keep the locks and the shared memory that a
// write-ahead log needs, whatever they say.
var networkFileSystems = map[uint32]string{
	0x6969:     "NFS",
	0x517b:     "SMB",
	0xff534d42: "CIFS",
	0xfe534d42: "SMB 2",
	0x5346414f: "AFS",
	0x73757245: "Coda",
}

// checkFileSystem refuses a directory on another machine.
func checkFileSystem(dir string) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return fmt.Errorf("eventstore/sqlite: open: %w", &os.PathError{Op: "statfs", Path: dir, Err: err})
	}
	if name, ok := networkFileSystems[uint32(st.Type)]; ok {
		return fmt.Errorf("%w: %s lies on a network file system (%s), on which a log is not safe: name a directory on a local disk", ErrNotStore, dir, name)
	}
	return nil
}
