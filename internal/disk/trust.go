//go:build unix

package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
)

var (
	// ErrNotPlain: what has the name of a file is a link, a directory, a pipe, a
	// device or a socket, has a second name, or is bigger than such a file is.
	ErrNotPlain = errors.New("disk: not a plain file")
	// ErrNotLocal: the directory lies on another machine, where the locks and
	// the shared memory of a database do not hold.
	ErrNotLocal = errors.New("disk: not a local disk")
)

// CheckPlain returns ErrNotPlain unless path is a regular file with one name,
// and fs.ErrNotExist where nothing has the name. It opens nothing, so that
// nothing can hang and no lock is lost.
func CheckPlain(path string) (os.FileInfo, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	return info, plain(path, info)
}

func plain(path string, info os.FileInfo) error {
	switch mode := info.Mode(); {
	case mode&os.ModeSymlink != 0:
		return fmt.Errorf("%w: %s is a symbolic link: give the file itself", ErrNotPlain, path)
	case !mode.IsRegular():
		return fmt.Errorf("%w: %s is not a regular file", ErrNotPlain, path)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
		return fmt.Errorf("%w: %s has %d names (hard links), and who writes one changes what the others hold: copy it, and move the copy here", ErrNotPlain, path, st.Nlink)
	}
	return nil
}

// ReadSmall reads a file of at most so many bytes. It returns ErrNotPlain for
// what is bigger or no regular file, follows no link and waits for nobody at
// the other end of a pipe.
func ReadSmall(path string, most int64) (_ []byte, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%w: %s is a symbolic link: give the file itself", ErrNotPlain, path)
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a regular file", ErrNotPlain, path)
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("%w: %s has more than %d bytes", ErrNotPlain, path, most)
	}
	return data, nil
}

// MakeDir makes a directory, mode 0700 whatever the umask, with those above it
// that are missing, and syncs each that it made something in: after a power cut
// the whole path is there. created says whether it made the last. It returns
// ErrNotPlain where something else has the name: a link is not followed.
func MakeDir(path string) (created bool, err error) {
	info, err := os.Lstat(path)
	switch {
	case err == nil && !info.IsDir():
		return false, fmt.Errorf("%w: %s is not a directory", ErrNotPlain, path)
	case err == nil:
		return false, nil
	case !errors.Is(err, os.ErrNotExist):
		return false, err
	}
	above := filepath.Dir(path)
	if _, err := os.Stat(above); errors.Is(err, os.ErrNotExist) { // above it links are followed
		if _, err := MakeDir(above); err != nil {
			return false, err
		}
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		if info, look := os.Lstat(path); look == nil && info.IsDir() {
			return false, nil // somebody else was faster
		}
		return false, err
	}
	if err := os.Chmod(path, 0o700); err != nil { // the umask may have taken more away
		return true, err
	}
	return true, SyncPath(above)
}

// EnsureDir is MakeDir for a directory that a user has named: a link to a
// directory is one.
func EnsureDir(path string) (created bool, err error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return false, nil
	}
	return MakeDir(path)
}

// CreateFile makes an empty file, mode 0600 whatever the umask. Nothing may
// have the name.
func CreateFile(path string) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Chmod(0o600)
}

// CheckLocal returns ErrNotLocal where dir lies on a network file system and
// the system tells.
func CheckLocal(dir string) error {
	kind, err := fileSystem(dir)
	if err != nil {
		return &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if name, ok := networks[kind]; ok {
		return fmt.Errorf("%w: %s lies on a network file system (%s): name a directory on a local disk", ErrNotLocal, dir, name)
	}
	return nil
}

// networks are the file systems, by the number that Linux gives them, that do
// not keep the locks and the shared memory that a write-ahead log needs,
// whatever they say.
var networks = map[uint32]string{
	0x6969:     "NFS",
	0x517b:     "SMB",
	0xff534d42: "CIFS",
	0xfe534d42: "SMB 2",
	0x5346414f: "AFS",
	0x6b414653: "AFS",
	0x73757245: "Coda",
	0x564c:     "NCP",
}

// pretence is what CheckLocal is to believe, and only tests set it.
var pretence atomic.Pointer[func(dir string) (kind uint32, ok bool)]

// PretendFileSystem has CheckLocal believe fn on which file system a directory
// lies, where fn says ok, until stop is called. For tests.
func PretendFileSystem(fn func(dir string) (kind uint32, ok bool)) (stop func()) {
	pretence.Store(&fn)
	return func() { pretence.CompareAndSwap(&fn, nil) }
}

func pretended(dir string) (kind uint32, ok bool) {
	if fn := pretence.Load(); fn != nil {
		return (*fn)(dir)
	}
	return 0, false
}
