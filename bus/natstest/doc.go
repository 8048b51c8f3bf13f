// Package natstest relays a log to a NATS JetStream server that runs inside
// the test. It is a module of its own, so that nobody who imports Leat
// inherits the broker.
package natstest
