// Package aggregate decides: it loads an aggregate's state from its stream,
// lets a plain function decide, and appends the events that were decided.
//
//	type Account struct{ Balance int64 }
//
//	func (a *Account) deposited(e Deposited) { a.Balance += e.Cents }
//
//	var Accounts = aggregate.Define("account", aggregate.On((*Account).deposited))
//
//	accounts := aggregate.NewRepository(store, Accounts, nil)
//	commit, err := accounts.Update(ctx, "7", func(a *Account) (aggregate.Events, error) {
//		return aggregate.Events{Deposited{Cents: 500}}, nil
//	})
//
// An update is one call: nobody can forget to load, to check the version, or to
// decide again after a conflict. The state in memory is always the fold of
// events as the log has them, never of the values that a decision returned.
//
// It does not know SQL or routers, and does not retry what the store could not
// do: an unknown outcome is the caller's, who repeats the command under its id.
package aggregate
