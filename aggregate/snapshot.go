package aggregate

import (
	"context"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/leat-go/leat/eventstore"
)

// snapshot returns the state and version to fold from: those of the snapshot
// where there is one, else of the start.
func (r *Repository[S]) snapshot(ctx context.Context, stream string) (*S, int64) {
	if r.snapshots == nil {
		return new(S), 0
	}
	s, ok, err := r.snapshots.LoadSnapshot(ctx, stream, r.def.foldName())
	state := new(S)
	if err == nil && ok {
		err = json.Unmarshal(s.State, state)
	}
	if err != nil {
		r.opts.Logger.WarnContext(ctx, "aggregate: snapshot not read, folding the whole stream", "stream", stream, "error", err)
		return new(S), 0
	}
	if !ok {
		return state, 0
	}
	return state, s.Version
}

// saveSnapshot keeps the state where the stream has passed a multiple of
// SnapshotEvery between the two versions.
func (r *Repository[S]) saveSnapshot(ctx context.Context, stream string, state *S, before, after int64) {
	every := int64(r.opts.SnapshotEvery)
	if r.snapshots == nil || before/every == after/every {
		return
	}
	data, err := json.Marshal(state)
	if err == nil {
		err = r.snapshots.SaveSnapshot(ctx, eventstore.Snapshot{
			Stream: stream, Fold: r.def.foldName(), Version: after, State: data,
		})
	}
	if err != nil {
		r.opts.Logger.WarnContext(ctx, "aggregate: snapshot not saved", "stream", stream, "version", after, "error", err)
	}
}

// checkState returns an error where a value of type t, written as JSON and read
// back, could lose a part: it would decide wrongly without a word.
func checkState(t reflect.Type) error {
	return checkJSON(t, t.String(), make(map[reflect.Type]bool))
}

func checkJSON(t reflect.Type, path string, seen map[reflect.Type]bool) error {
	if seen[t] || reads(t) {
		return nil
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Struct:
		for f := range t.Fields() {
			at := path + "." + f.Name
			if !f.IsExported() && (!f.Anonymous || f.Type.Kind() != reflect.Struct) || f.Tag.Get("json") == "-" {
				return fmt.Errorf("JSON does not hold the field %s: export it, or give the type that has it MarshalJSON and UnmarshalJSON", at)
			}
			if err := checkJSON(f.Type, at, seen); err != nil {
				return err
			}
		}
	case reflect.Map:
		if k := t.Key(); !reads(k) && k.Kind() != reflect.String && !k.ConvertibleTo(reflect.TypeFor[int64]()) {
			return fmt.Errorf("JSON does not hold the keys of %s, which are %s", path, k)
		}
		return checkJSON(t.Elem(), path+"[]", seen)
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return checkJSON(t.Elem(), path, seen)
	case reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Complex64, reflect.Complex128:
		return fmt.Errorf("JSON does not hold %s, which is %s", path, t)
	}
	return nil
}

// reads tells whether the type itself says how it is read back.
func reads(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}
