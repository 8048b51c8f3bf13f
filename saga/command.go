package saga

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/leat-go/leat/eventstore"
)

// Command is what a saga asks for: a plain struct that says its own durable
// name, which must not depend on its value. It is stored as JSON.
type Command interface {
	// CommandType returns the durable name, for example "place_hold".
	CommandType() string
}

func commandType(t reflect.Type) (string, error) {
	if t.Kind() != reflect.Struct {
		return "", &eventstore.InvalidError{Field: "command", Value: t.String(), Reason: "a command is a plain struct, not a pointer or an interface"}
	}
	name := reflect.Zero(t).Interface().(Command).CommandType()
	if err := eventstore.CheckName("command type", name); err != nil {
		return "", fmt.Errorf("%s: %w", t, err)
	}
	return name, nil
}

// encodeCommand returns the command's durable name and its JSON.
func encodeCommand(cmd Command) (name, data string, err error) {
	if cmd == nil {
		return "", "", &eventstore.InvalidError{Field: "command", Reason: "is nil"}
	}
	name, err = commandType(reflect.TypeOf(cmd))
	if err != nil {
		return "", "", err
	}
	if got := cmd.CommandType(); got != name {
		return "", "", &eventstore.InvalidError{Field: "command type", Value: got, Reason: fmt.Sprintf("the name of %T depends on its value: its zero value says %q", cmd, name)}
	}
	raw, err := json.Marshal(cmd)
	if err != nil {
		return "", "", &eventstore.InvalidError{Field: "command", Value: name, Reason: "cannot be written as JSON: " + err.Error()}
	}
	if len(raw) > eventstore.MaxData {
		return "", "", &eventstore.InvalidError{Field: "command", Value: name, Reason: fmt.Sprintf("has %d bytes, %d are allowed", len(raw), eventstore.MaxData)}
	}
	return name, string(raw), nil
}

func decodeCommand[C Command](r rejection) (C, error) {
	var cmd C
	if err := json.Unmarshal([]byte(r.Data), &cmd); err != nil {
		return cmd, fmt.Errorf("decode rejected command %q: %w", r.Type, err)
	}
	return cmd, nil
}

// fingerprint is a hash of what identifies an effect: the saga, by the name that
// it began with, the instance, the input that caused the effect, and its place
// among the effects of that step.
func fingerprint(identity, key, ref string, ordinal int) string {
	h := sha256.New()
	var n [8]byte
	for _, s := range [...]string{identity, key, ref} {
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	binary.BigEndian.PutUint64(n[:], uint64(ordinal))
	h.Write(n[:])
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// commandID returns the id of a command: the position of its root cause, so
// that ids grow with the log, and its fingerprint.
func commandID(root int64, identity, key, ref string, ordinal int) string {
	return fmt.Sprintf("%019d-%s", root, fingerprint(identity, key, ref, ordinal))
}
