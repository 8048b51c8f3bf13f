package saga

import "slices"

// Gather waits for several things in a saga: all of N payments, the first of M
// drivers, k of n answers. It is a field of the saga's state, stored with it,
// and its zero value expects nothing:
//
//	type paying struct{ Payments saga.Gather }
//
//	p.Payments.Expect("card", "voucher") // in the step that sends for them
//	if p.Payments.Got(e.Method) {        // in the step that hears of one
//		c.Complete()
//	}
//
// An answer that comes twice counts once, and one that nobody expected does not
// count. Got and Lost say once that it is decided, and Decided whether it is.
// Its fields are for JSON; keys are looked up one by one, so some thousands at
// most.
type Gather struct {
	// Open are the keys that have neither come nor been lost, in the order of
	// Expect; Came and Gone are those that have.
	Open []string `json:"open,omitempty"`
	Came []string `json:"came,omitempty"`
	Gone []string `json:"gone,omitempty"`
	// Need is how many must come; 0 is all of them.
	Need int `json:"need,omitempty"`
	// Said is what was told: "enough" or "hopeless".
	Said string `json:"said,omitempty"`
}

// What Gather.Said is.
const (
	enough   = "enough"
	hopeless = "hopeless"
)

// Expect adds what is to come. A key that it knows is not added again. Without
// Enough all must come: then a further key has it wait again, even after Got
// said that all had. Of no keys at all nothing ever comes: Expect of an empty
// list leaves it decided, see Decided.
//
// A further key takes the place of one that was lost only where Enough says how
// many must come: once that many can come again, it waits again. Without
// Enough the lost key itself must come.
func (g *Gather) Expect(keys ...string) {
	for _, key := range keys {
		if g.knows(key) {
			continue
		}
		g.Open = append(g.Open, key)
		if g.Need == 0 && g.Said == enough {
			g.Said = ""
		}
	}
	if g.Said == hopeless && !g.hopeless() {
		g.Said = ""
	}
}

// Enough says that n of what is expected are enough, at least 1: the first of
// several, k of n. Call it before anything comes.
func (g *Gather) Enough(n int) { g.Need = max(n, 1) }

// Got notes that the key has come, and tells whether that was what it waited
// for: true once, with the one that made it enough. One that was lost has come
// after all.
func (g *Gather) Got(key string) bool {
	if !take(&g.Open, key) && !take(&g.Gone, key) {
		return false
	}
	g.Came = append(g.Came, key)
	if g.Said == enough || !g.complete() {
		return false
	}
	g.Said = enough
	return true
}

// Lost notes that the key will not come, and tells whether enough can no more
// come: true once, with the one that made it hopeless, and once more where
// Expect has given hope in between. One that has come stays so. Without Enough
// the first loss is hopeless.
func (g *Gather) Lost(key string) bool {
	if !take(&g.Open, key) {
		return false
	}
	g.Gone = append(g.Gone, key)
	if g.Said != "" || !g.hopeless() {
		return false
	}
	g.Said = hopeless
	return true
}

// Missing returns the keys that have neither come nor been lost, in the order
// of Expect.
func (g *Gather) Missing() []string { return slices.Clone(g.Open) }

// Has tells whether the key has come.
func (g *Gather) Has(key string) bool { return slices.Contains(g.Came, key) }

// Decided tells whether nothing is waited for any more: enough has come, or can
// no more come.
func (g *Gather) Decided() bool { return g.complete() || g.hopeless() }

func (g *Gather) complete() bool { return len(g.Came) >= g.need() }

// hopeless tells whether losses keep enough from coming. Where too few are
// expected so far, and none is lost, more may be.
func (g *Gather) hopeless() bool { return len(g.Gone) > 0 && len(g.Came)+len(g.Open) < g.need() }

func (g *Gather) need() int {
	if g.Need == 0 {
		return len(g.Open) + len(g.Came) + len(g.Gone)
	}
	return g.Need
}

func (g *Gather) knows(key string) bool {
	return slices.Contains(g.Open, key) || slices.Contains(g.Came, key) || slices.Contains(g.Gone, key)
}

// take removes the key from the list and tells whether it was there.
func take(list *[]string, key string) bool {
	n := slices.Index(*list, key)
	if n < 0 {
		return false
	}
	*list = slices.Delete(slices.Clone(*list), n, n+1)
	return true
}
