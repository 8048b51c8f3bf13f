package saga

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// arming sets, cancels and fires timers as its events say: "key verb timer".
type arming struct{ Fired int }

func armingKey(e did) string { key, _, _ := strings.Cut(e.What, " "); return key }

func (*arming) did(c *Context, e did) error {
	verb, name, _ := strings.Cut(strings.TrimPrefix(e.What, armingKey(e)+" "), " ")
	switch verb {
	case "set":
		c.After(name, time.Minute)
	case "cancel":
		c.Cancel(name)
	case "end":
		c.Complete()
	}
	return nil
}

func (a *arming) fired(*Context) error { a.Fired++; return nil }

// What is known of an instance's timers without a look into the file is what
// the file has, whether the instance was made since it was opened, read anew,
// or forgotten meanwhile.
func TestTimersThatAreKnownAreThoseOfTheFile(t *testing.T) {
	names := []string{"a", "b", "c"}
	def := Define("arming", 1, Starts(armingKey, (*arming).did),
		Timer("a", (*arming).fired), Timer("b", (*arming).fired), Timer("c", (*arming).fired))
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			w := newWorld(t, def)
			want, ended := map[string]bool{}, map[string]bool{}
			for range 60 {
				for range 1 + rng.IntN(4) { // in one page
					key, name := fmt.Sprint("k", rng.IntN(4)), names[rng.IntN(len(names))]
					verb := []string{"set", "set", "set", "cancel", "cancel", "end"}[rng.IntN(6)]
					if verb == "end" && rng.IntN(4) > 0 {
						verb = "set"
					}
					w.emit("s", did{strings.Join([]string{key, verb, name}, " ")})
					switch {
					case ended[key]:
					case verb == "set":
						want[key+" "+name] = true
					case verb == "cancel":
						delete(want, key+" "+name)
					default:
						ended[key] = true
						for _, n := range names {
							delete(want, key+" "+n)
						}
					}
				}
				w.feed(100)
				switch rng.IntN(8) {
				case 0:
					w.advance(time.Hour)
					clear(want)
				case 1:
					w.reopen()
				case 2:
					require.NoError(t, w.lock(t.Context()))
					w.cache.clear()
					w.unlock()
				}
				require.Equal(t, keysOf(want), armedTimers(t, w))
				require.Equal(t, len(want), w.stats().Timers)
			}
		})
	}
}

func keysOf(m map[string]bool) []string {
	keys := []string{}
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// armedTimers lists the timers of the file, and demands of instances in memory
// that know theirs that they know the same.
func armedTimers(t *testing.T, w *world) []string {
	t.Helper()
	require.NoError(t, w.lock(t.Context()))
	defer w.unlock()
	byInstance := map[string][]string{}
	all := []string{}
	rows, err := w.db.Reader().Query(`
		SELECT i.key, t.name
		FROM timer AS t
		JOIN instance AS i ON i.id = t.instance
		ORDER BY i.key, t.name`)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var key, name string
		require.NoError(t, rows.Scan(&key, &name))
		byInstance[key] = append(byInstance[key], name)
		all = append(all, key+" "+name)
	}
	require.NoError(t, rows.Err())
	for id := range w.cache.rows {
		i, names := w.cache.byID(id), []string(nil)
		for _, a := range i.armed {
			names = append(names, a.name)
		}
		require.ElementsMatch(t, byInstance[i.key], names, i.key)
	}
	return all
}

// stumbling fails at what begins with "bad" until it is mended.
type stumbling struct{ Rung int }

// A timer that is set by what waited for an instance is held where the next
// that waited parks it again: it does not come due in between.
func TestATimerSetBetweenTwoFailuresIsHeld(t *testing.T) {
	mended := map[string]bool{}
	w := newWorld(t, Define("stumbling", 1,
		Starts(armingKey, func(_ *stumbling, c *Context, e did) error {
			_, verb, _ := strings.Cut(e.What, " ")
			if strings.HasPrefix(verb, "bad") && !mended[verb] {
				return permanent("%s", verb)
			}
			if verb == "bad set" {
				c.After("ring", time.Minute)
			}
			return nil
		}),
		Timer("ring", func(s *stumbling, _ *Context) error { s.Rung++; return nil })))
	for _, what := range []string{"k start", "k bad set", "k bad again"} {
		w.emit("s", did{what})
	}
	w.feed(100)
	require.Equal(t, 1, w.stats().Parked)
	by := By{Who: "ada", Why: "mended"}
	mended["bad set"] = true
	require.NoError(t, w.Retry(t.Context(), "stumbling", "k", by))
	require.Equal(t, 1, w.stats().Parked, "by the next that waits")
	list, err := w.Timers(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.True(t, list[0].Held)
	_, due, err := w.NextDue(t.Context())
	require.NoError(t, err)
	require.False(t, due)

	mended["bad again"] = true
	require.NoError(t, w.Retry(t.Context(), "stumbling", "k", by))
	w.advance(time.Hour)
	i, err := w.Instance(t.Context(), "stumbling", "k")
	require.NoError(t, err)
	require.JSONEq(t, `{"Rung":1}`, string(i.State))
}
