package crashstates

import "fmt"

// Kind of an operation.
type Kind uint8

// The kinds of operations.
const (
	// Open: SQLite opened the file, whose identity is Inode and size Size.
	Open Kind = iota + 1
	// Create: a new file took the name, whatever had it before.
	Create
	// Write: Data was written at Offset.
	Write
	// Truncate: the file was cut or grew to Size.
	Truncate
	// Sync: what was done to the file before the operation Start is durable;
	// where Failed is set, it may never become so.
	Sync
	// SyncDir: the names in the directory are durable likewise.
	SyncDir
	// SyncPath: Sync or SyncDir, whichever Path is.
	SyncPath
	// Delete: the name was removed.
	Delete
	// Rename: To is now the name of the file; Path is nobody's.
	Rename
	// Close: SQLite closed the file.
	Close
	// Mark: nothing happened to a file; Data is a text.
	Mark
)

// Op is something that happened to a file.
type Op struct {
	Kind Kind
	// Path and To are relative to the directory that was recorded, and "."
	// that itself.
	Path, To string
	Offset   int64
	Data     []byte
	Size     int64
	Inode    uint64
	Start    int
	Failed   bool
}

// Log is what happened, in order: an operation's index is its number. A write
// stands where it was finished.
type Log []Op

// Marks calls fn with each mark and its number.
func (l Log) Marks(fn func(number int, text string)) {
	for i := range l {
		if l[i].Kind == Mark {
			fn(i, string(l[i].Data))
		}
	}
}

var kindNames = map[Kind]string{
	Open: "open", Create: "create", Write: "write", Truncate: "truncate", Sync: "sync", SyncDir: "sync directory",
	SyncPath: "sync", Delete: "delete", Rename: "rename", Close: "close", Mark: "mark",
}

func (k Kind) String() string { return kindNames[k] }

func (op Op) String() string {
	switch op.Kind {
	case Write:
		return fmt.Sprintf("write %s [%d, %d)", op.Path, op.Offset, op.Offset+int64(len(op.Data)))
	case Truncate:
		return fmt.Sprintf("truncate %s to %d", op.Path, op.Size)
	case Rename:
		return fmt.Sprintf("rename %s to %s", op.Path, op.To)
	case Mark:
		return fmt.Sprintf("mark %q", op.Data)
	}
	text := op.Kind.String() + " " + op.Path
	if op.Failed {
		text += " (failed)"
	}
	return text
}
