//go:build !linux

package background

// lower does nothing: elsewhere a priority is of the whole process.
func lower() {}

func onMain() bool { return false }
