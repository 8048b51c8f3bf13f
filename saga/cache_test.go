package saga

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// notPacked are fields that follow from others, or from where an instance is.
var notPacked = map[string]bool{"b": true, "loaded": true, "dirty": true, "counted": true, "backing": true, "blocked": true, "wiped": true, "rare": true}

// fill gives every field that the file has a value.
func fill(t *testing.T, rnd *rand.Rand) *instance {
	t.Helper()
	i := &instance{}
	v := reflect.ValueOf(i).Elem()
	for n := range v.NumField() {
		name := v.Type().Field(n).Name
		if notPacked[name] {
			continue
		}
		f := reflect.NewAt(v.Field(n).Type(), unsafe.Pointer(v.Field(n).UnsafeAddr())).Elem()
		switch f.Kind() {
		case reflect.Int, reflect.Int64:
			f.SetInt(int64(rnd.Uint64()>>1>>rnd.IntN(60) | 1))
			if rnd.IntN(4) == 0 {
				f.SetInt(-f.Int())
			}
		case reflect.Bool:
			f.SetBool(rnd.IntN(2) == 0)
		case reflect.String:
			f.SetString(strings.Repeat("ü", rnd.IntN(100)) + name)
		default:
			require.Equal(t, "armed", name, "pack does not know it")
			for m := range rnd.IntN(3) {
				i.armed = append(i.armed, armed{fmt.Sprint("timer ", m), int64(rnd.Uint64())})
			}
		}
	}
	i.asSaved()
	return i
}

func TestAnInstanceOfTheCacheIsAsItWasKept(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		i := fill(t, rnd)
		require.Equal(t, i, unpack(i.pack()))
	}
}

// What is kept is the last, under its id and its key, or nothing; the memory
// stays within its bound whatever the size of the states.
func TestTheCacheIsBoundedAndHasTheLast(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 3))
	c := cache{}
	c.clear()
	last := map[int64]string{}
	most := 0
	for n := range 6000 {
		id := int64(rnd.IntN(2000))
		i := &instance{id: id, saga: 1, key: fmt.Sprint("k", id), state: fmt.Sprint(n, strings.Repeat("x", rnd.IntN(cacheRow+cacheRow/8)))}
		c.keep(i)
		if last[id] = i.state; n%100 == 0 {
			gone := int64(rnd.IntN(2000))
			c.forget(gone)
			require.Nil(t, c.byID(gone))
		}
		require.LessOrEqual(t, c.bytes, cacheBytes)
		require.LessOrEqual(t, len(c.ids), len(c.rows))
		most = max(most, c.bytes)
		for _, got := range []*instance{c.byID(id), c.byKey(instanceKey{saga: 1, key: i.key})} {
			if len(i.pack()) > cacheRow {
				require.Nil(t, got)
			} else if got != nil {
				require.Equal(t, last[id], got.state)
			}
		}
		other := int64(rnd.IntN(2000))
		if got := c.byKey(instanceKey{saga: 1, key: fmt.Sprint("k", other)}); got != nil {
			require.Equal(t, last[other], got.state, "not one of before")
		}
	}
	require.Greater(t, most, cacheBytes*3/4)
	require.Nil(t, c.byKey(instanceKey{saga: 2, key: "k1"}))
	sum := 0
	for _, row := range c.rows {
		sum += len(row) + cacheEntry
	}
	require.Equal(t, sum, c.bytes, "what is counted is what is there")
}

// Two keys with the same hash: neither is taken for the other.
func TestKeysOfOneHashAreNotMistaken(t *testing.T) {
	c := cache{}
	c.clear()
	c.keep(&instance{id: 1, saga: 1, key: "a"})
	c.ids[c.hash(instanceKey{saga: 1, key: "b"})] = 1
	require.Nil(t, c.byKey(instanceKey{saga: 1, key: "b"}))
	require.NotNil(t, c.byKey(instanceKey{saga: 1, key: "a"}))
	c.forget(1)
	require.Nil(t, c.byKey(instanceKey{saga: 1, key: "b"}), "nor is one that is forgotten found")
}
