//go:build linux && cgo

package diskfault_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/leat-go/leat/internal/disk"
	"github.com/leat-go/leat/internal/faultvfs"
)

// trouble is a way in which a disk fails.
type trouble struct {
	name  string
	fault faultvfs.Fault
	// beside fails what is done to files beside SQLite.
	beside bool
}

// troubles are all ways that are tried: each kind of operation with an I/O
// error, writes on a full disk, writes that are carried out by half.
func troubles() (all []trouble) {
	for _, kind := range faultvfs.Kinds() {
		all = append(all, trouble{name: kind.String(), fault: faultvfs.Fault{Kind: kind}})
	}
	return append(all,
		trouble{name: "write, full", fault: faultvfs.Fault{Kind: faultvfs.Write, Error: faultvfs.Full}},
		trouble{name: "write, torn", fault: faultvfs.Fault{Kind: faultvfs.Write, Torn: true}},
		trouble{name: "write, torn, full", fault: faultvfs.Fault{Kind: faultvfs.Write, Torn: true, Error: faultvfs.Full}},
		trouble{name: "beside", beside: true},
	)
}

var errBeside = errors.New("input/output error")

// running is a trouble in force.
type running struct {
	seen, failed func() int
	stop         func()
}

// start has the n-th matching operation below dir fail, times times.
func (tr trouble) start(t testing.TB, dir, suffix string, n, times int) running {
	t.Helper()
	if !tr.beside {
		f := tr.fault
		f.Dir, f.Suffix, f.N, f.Times = dir, suffix, n, times
		i := inject(t, f)
		return running{seen: i.Seen, failed: i.Failed, stop: i.Remove}
	}
	var seen, failed atomic.Int64
	stop := disk.Obstruct(func(disk.Op) error {
		at := int(seen.Add(1))
		if at < n || times != faultvfs.Forever && at >= n+times {
			return nil
		}
		failed.Add(1)
		return errBeside
	})
	return running{seen: func() int { return int(seen.Load()) }, failed: func() int { return int(failed.Load()) }, stop: stop}
}

// never is an n that no run reaches.
const never = 1 << 40

// attempt is one case: a trouble at one operation.
type attempt struct {
	trouble trouble
	n       int
	times   int
}

func (a attempt) String() string {
	how := "once"
	if a.times == faultvfs.Forever {
		how = "for ever"
	} else if a.times > 1 {
		how = fmt.Sprintf("%d times", a.times)
	}
	return fmt.Sprintf("%s %d, %s", a.trouble.name, a.n, how)
}
