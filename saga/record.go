package saga

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// entryInput is what an entry of the journal needs beside the log, to be told
// and to be run again.
type entryInput struct {
	Due      int64  `json:"due,omitempty"`      // of a timer, Unix nanoseconds
	Position int64  `json:"position,omitempty"` // how far the log was seen
	Code     string `json:"code,omitempty"`     // of a rejection
	Reason   string `json:"reason,omitempty"`
	Who      string `json:"who,omitempty"` // of an admin action
}

func readEntryInput(text string) (in entryInput, err error) {
	if text == "" {
		return in, nil
	}
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return in, fmt.Errorf("decode an entry of the journal: %w", err)
	}
	return in, nil
}

// noteStep writes the line of a step that a handler made.
func (w *work) noteStep(i *instance, in *input, c *Context, effects string) error {
	en := entry{kind: in.kind, ref: in.ref, name: in.name, effects: effects, digest: digestOf(c.effects)}
	switch in.kind {
	case kindTimer: // as json.Marshal would write it
		en.input = `{"due":` + strconv.FormatInt(in.at, 10) + `,"position":` + strconv.FormatInt(c.position, 10) + `}`
	case kindRejection:
		raw, err := json.Marshal(entryInput{Position: c.position, Code: in.rejection.Code, Reason: in.rejection.Reason})
		if err != nil {
			return fmt.Errorf("encode a rejection: %w", err)
		}
		en.input = string(raw)
	}
	return w.noteEntry(i, en)
}

// noteAdmin writes the line of an operator's action.
func (w *work) noteAdmin(i *instance, ref, action string, by By) error {
	raw, err := json.Marshal(entryInput{Who: by.Who})
	if err != nil {
		return fmt.Errorf("encode who acts: %w", err)
	}
	return w.noteEntry(i, entry{kind: kindAdmin, ref: ref, name: action, effects: by.Why, input: string(raw)})
}

// digestLength is the length of the checksum of one effect.
const digestLength = 8

// digestOf returns a checksum of each effect, so that changed code is noticed
// that asks for the same with another payload or another time. It need not
// withstand anybody who means to deceive.
func digestOf(effects []effect) string {
	if len(effects) == 0 {
		return ""
	}
	const digits = "0123456789abcdef"
	out := make([]byte, 0, digestLength*len(effects))
	for n := range effects {
		sum := effects[n].sum()
		for shift := 28; shift >= 0; shift -= 4 {
			out = append(out, digits[sum>>shift&15])
		}
	}
	return string(out)
}

// sum is FNV-1a over what the journal's text does not show of the effect.
func (ef *effect) sum() uint32 {
	const basis, prime = 2166136261, 16777619
	sum := uint32(basis)
	name := ""
	if ef.kind == effectUndo {
		name = ef.name
	}
	for _, s := range [...]string{name, ef.data} {
		for n := range len(s) {
			sum = (sum ^ uint32(s[n])) * prime
		}
		sum *= prime // as after a zero byte
	}
	for due := uint64(ef.due); due != 0; due >>= 8 {
		sum = (sum ^ uint32(due&255)) * prime
	}
	return sum
}
