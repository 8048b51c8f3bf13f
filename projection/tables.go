package projection

import (
	"slices"
	"strings"
)

// Tables adds to the schema of a definition the tables of a part that some
// package keeps in the read model, such as a feed of package window. The same
// text is added once, however often it is given. err, where not nil, is what is
// wrong with the part: the definition is as wrong. Like the schema, what is
// added belongs to the version.
func Tables(schema string, err error) Option {
	schema = strings.TrimSpace(schema)
	return func(d *Definition) {
		if err != nil {
			d.reject("%w", err)
		}
		if schema == "" || slices.Contains(d.added, schema) {
			return
		}
		d.added = append(d.added, schema)
		if d.schema != "" {
			d.schema += "\n;\n" // whatever it ends with
		}
		d.schema += schema
	}
}
