package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/leat-go/leat/aggregate"
	"github.com/leat-go/leat/eventstore/sqlite"
)

type Greeted struct{ Name string } // an event: a fact with a durable name

func (Greeted) EventType() string { return "greeted" }

type Guestbook struct{ Guests []string } // the state, folded from events

func (g *Guestbook) greeted(e Greeted) { g.Guests = append(g.Guests, e.Name) }

var Guestbooks = aggregate.Define("guestbook", aggregate.On((*Guestbook).greeted))

func greet(ctx context.Context, dir, name string) (err error) {
	store, err := sqlite.Open(ctx, dir, nil) // the log: a directory
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	books := aggregate.NewRepository(store, Guestbooks, nil)
	commit, err := books.Update(ctx, "lobby", func(g *Guestbook) (aggregate.Events, error) {
		return aggregate.Events{Greeted{Name: name}}, nil // decide: state in, events out
	})
	if err != nil {
		return err
	}
	book, version, err := books.Load(ctx, "lobby")
	if err != nil {
		return err
	}
	fmt.Printf("position %d, version %d: %v\n", commit.Last, version, book.Guests)
	return nil
}

func main() {
	if err := greet(context.Background(), "hello-data", "Ada"); err != nil {
		log.Fatal(err)
	}
}
