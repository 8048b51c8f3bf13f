package verify

import (
	"regexp"
	"strings"
)

// What to do about damage that nothing mends.
const (
	restoreStore  = "restore the store from a backup"
	anotherBackup = "use another backup"
	// acceptLoss is for a log that is sound as far as it goes.
	acceptLoss = restoreStore + ", or go on from this one by Restore with AcceptLoss"
)

// packages are the words with which errors of Leat begin.
var packages = regexp.MustCompile(`(^|[ (])(?:eventstore/sqlite|eventstore|sqlite): (?:corrupt: )?`)

// advice is what the text of an error says to do, for whoever has no finding
// with a remedy of its own.
var advice = regexp.MustCompile(`[:;] (?:(?:name another directory, or )?restore (?:it|the file|the store) from a backup|name another directory|have Verify look at a copy.*|bring together what belongs together|take another backup)$`)

// tidy has the findings of one look say one thing each, and together one thing
// to do where the log is damaged or it is a backup: nothing else helps then.
func (r *Report) tidy() {
	kept := r.Findings[:0]
	missing, aside := map[string]bool{}, map[string]bool{}
	damaged := false
	for _, f := range r.Findings {
		if strings.HasPrefix(f.Reason, "it is missing") && f.Place == "" {
			if missing[f.File] {
				continue // the manifest has missed it, and who reads it as well
			}
			missing[f.File] = true
		}
		if strings.HasSuffix(f.Reason, "and was not looked at") {
			missing[f.File], aside[f.File] = true, true
		}
		lossy := f.File == witnessName || strings.Contains(f.Reason, "which its witness remembers")
		damaged = damaged || f.File == logName && !lossy && !aside[logName] && !strings.HasPrefix(f.Place, "snapshot ")
		for packages.MatchString(f.Reason) {
			f.Reason = packages.ReplaceAllString(f.Reason, "$1")
		}
		for advice.MatchString(f.Reason) {
			f.Reason = advice.ReplaceAllString(f.Reason, "")
		}
		if lossy && f.Remedy == restoreStore {
			f.Remedy = acceptLoss
		}
		kept = append(kept, f)
	}
	r.Findings = kept
	for i := range r.Findings {
		switch f := &r.Findings[i]; {
		case r.Kind == KindBackup:
			f.Remedy = anotherBackup
		case damaged:
			f.Remedy = restoreStore
		}
	}
}
