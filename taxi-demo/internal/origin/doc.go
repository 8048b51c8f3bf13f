// Package origin is what a store of the demo is of: one generated city, or
// imported files, each finished before the next begins. What does not go on
// with that is refused, so that nothing is ever a mixture.
package origin
