package crash

import "context"

// Step is asked at each named point of a consumer's transaction. Where it
// returns an error, the process is taken to have died there: before the commit
// the transaction is rolled back, after it nothing in memory follows.
type Step func(point string) error

// Points of a transaction at which a Step is asked.
const (
	BeforeCommit = "commit"
	AfterCommit  = "committed"
)

type stepKey struct{}

// WithStep returns a context with which a consumer is opened that asks step at
// its points: for tests that play the death of a process inside of their own.
func WithStep(ctx context.Context, step Step) context.Context {
	return context.WithValue(ctx, stepKey{}, step)
}

// StepOf returns the context's Step; without one it is one that never dies.
func StepOf(ctx context.Context) Step {
	if step, ok := ctx.Value(stepKey{}).(Step); ok {
		return step
	}
	return func(string) error { return nil }
}
