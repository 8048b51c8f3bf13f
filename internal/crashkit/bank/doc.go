// Package bank is the domain of the program that is killed: accounts, transfers
// between them, and notes that nobody reads. Every part of Leat has something
// to do in it, and every batch that is sent from outside follows from its
// label, so that whoever kills the program knows what it may have stored.
package bank
