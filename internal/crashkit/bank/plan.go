package bank

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Plan is what one life of the program is to do.
type Plan struct {
	// Dir is the store's directory, Scratch that of backups and of the relay.
	Dir, Scratch string
	// Life numbers the lives of a store, from 0.
	Life int
	// Version is that of Balances; where the files are newer, they decide.
	Version int
	// Drain has the program drain in virtual time, over and over; else it runs.
	Drain bool
	// Keep has the read models not rebuilt, so that a former version is kept.
	Keep bool
	// CloseAfter is when it stops and closes everything, counted from when all
	// was open; 0 for never.
	CloseAfter time.Duration
	// Repeat are the labels of former lives that nobody has answered.
	Repeat []string
}

const planVariable = "LEAT_PLAN"

// Env returns the plan for the environment of the program.
func (p Plan) Env() (string, error) {
	data, err := json.Marshal(p)
	return planVariable + "=" + string(data), err
}

// PlanFromEnv returns the plan of this process.
func PlanFromEnv() (p Plan, err error) {
	if err := json.Unmarshal([]byte(os.Getenv(planVariable)), &p); err != nil {
		return p, fmt.Errorf("%s: %w", planVariable, err)
	}
	return p, nil
}

// Relay names the relay, RelayFile the file in Scratch that holds its
// checkpoint, BackupPrefix begins the names of backups there, and RestoredSuffix
// ends that of the store that was restored of one.
const (
	Relay          = "relay"
	RelayFile      = "relay.json"
	BackupPrefix   = "backup-"
	RestoredSuffix = "-restored"
)

// RelayTypes are the types of the events that are relayed.
var RelayTypes = []string{requestedType}

// The first words of the lines that the program prints, each a line on its own,
// written at once.
const (
	// SayOpened: how many nanoseconds it took to open the store and the host.
	SayOpened = "opened"
	// SayAcked: label, first and last position, and whether it was a
	// duplicate. Printed after the append has returned.
	SayAcked = "ack"
	// SayRefused: label. It is not stored, ever.
	SayRefused = "refused"
	// SaySaw: position and event id, as a reader has it.
	SaySaw = "saw"
	// SayEffect: function and event id, printed before the function returns.
	SayEffect = "effect"
	// SayClosed: everything is closed.
	SayClosed = "closed"
	// SayFailed: what should not have happened.
	SayFailed = "failed"
)
