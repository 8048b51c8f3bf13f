package origin

// CityFounded: the store is of the city of a seed.
type CityFounded struct {
	Seed uint64 `json:"seed"`
}

// ImportBegun: rows of a file are let in from now on.
type ImportBegun struct {
	File File `json:"file"`
}

// ImportFinished: every row of the file was let in.
type ImportFinished struct {
	Source string `json:"source"`
}

// File is a file of trip records.
type File struct {
	Source string `json:"source"` // its SHA-256, in hexadecimal
	Name   string `json:"name"`   // as it was called, which may be no more
	Rows   int64  `json:"rows"`
}

func (CityFounded) EventType() string    { return "city_founded" }
func (ImportBegun) EventType() string    { return "import_begun" }
func (ImportFinished) EventType() string { return "import_finished" }
