package bus

// NewTail returns the tail that a router shares between its consumers.
var NewTail = newTail
