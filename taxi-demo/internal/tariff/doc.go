// Package tariff is the book of published tariffs, each in force from its date
// on. Dates only increase, so that the tariff a ride was charged by never
// changes afterwards.
package tariff
