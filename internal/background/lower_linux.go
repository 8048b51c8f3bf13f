package background

import "syscall"

// lowest is the lowest priority ("nice") of an ordinary thread.
const lowest = 19

// lower lowers this thread alone: on Linux priorities are of threads. Anyone
// may lower; where something forbids even that, the work is done all the same.
func lower() { _ = syscall.Setpriority(syscall.PRIO_PROCESS, 0, lowest) }

// onMain tells whether this is the first thread of the process.
func onMain() bool { return syscall.Gettid() == syscall.Getpid() }
