// Package crash names the places at which tests kill a process: between two
// steps that belong together. A program that is built with the tag leatcrash
// and started with LEAT_CRASH=name:n in its environment kills itself when it
// reaches the place called name for the n-th time. In every other build At
// compiles to nothing.
package crash

// Point is a place at which a process can be killed.
type Point string

// The places, each named after what has just happened.
const (
	// LogBeforeCommit: the rows of a group are written, COMMIT is not issued.
	LogBeforeCommit Point = "log-before-commit"
	// LogAfterCommit: a group is committed, nobody has been answered.
	LogAfterCommit Point = "log-after-commit"
)

// Points are all places.
func Points() []Point {
	return []Point{LogBeforeCommit, LogAfterCommit}
}
