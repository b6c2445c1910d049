package engine_test

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"millrace/knative/local/internal/search/engine"
)

// memory is a Storage without a file, for tests of one goroutine: what Write's f wrote stays though it failed.
type memory struct {
	fields    []string
	templates map[string]string
	indices   map[int64]engine.IndexRow
	docs      map[int64]engine.DocRow
	values    map[int64][]byte
	last      int64
}

func newMemory() *memory {
	return &memory{templates: map[string]string{}, indices: map[int64]engine.IndexRow{}, docs: map[int64]engine.DocRow{}, values: map[int64][]byte{}}
}

func (m *memory) Read(_ context.Context, f func(engine.Reader) error) error  { return f(m) }
func (m *memory) Write(_ context.Context, f func(engine.Writer) error) error { return f(m) }
func (m *memory) Close() error                                               { return nil }

func (m *memory) Load(_ context.Context, field func(uint32, string), template func(name, body string) error, index func(engine.IndexRow) error) error {
	for i, name := range m.fields {
		field(uint32(i+1), name)
	}
	for name, body := range m.templates {
		if err := template(name, body); err != nil {
			return err
		}
	}
	for _, x := range m.indices {
		if err := index(x); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Scan(_ context.Context, index int64, limit int, f func(int64, []byte) error) error {
	for _, pk := range slices.Sorted(maps.Keys(m.values)) {
		if limit == 0 {
			return nil
		}
		if m.docs[pk].Index != index {
			continue
		}
		limit--
		if err := f(pk, m.values[pk]); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Values(_ context.Context, pk int64) ([]byte, error) { return m.values[pk], nil }

func (m *memory) Find(_ context.Context, index int64, id string) (*engine.DocRow, error) {
	for _, d := range m.docs {
		if d.Index == index && d.ID == id {
			return &d, nil
		}
	}
	return nil, nil
}

func (m *memory) Document(_ context.Context, pk int64) (*engine.DocRow, error) {
	d := m.docs[pk]
	return &d, nil
}

func (m *memory) Size(_ context.Context, index int64) (n int64, _ error) {
	for _, d := range m.docs {
		if d.Index == index {
			n += int64(len(d.Source))
		}
	}
	return n, nil
}

func (m *memory) Put(_ context.Context, d *engine.DocRow, _ bool, values []byte) error {
	m.docs[d.PK] = *d
	m.values[d.PK] = values
	if d.Deleted != 0 {
		delete(m.values, d.PK)
	}
	return nil
}

func (m *memory) Reap(_ context.Context, before int64) error {
	maps.DeleteFunc(m.docs, func(_ int64, d engine.DocRow) bool { return d.Deleted != 0 && d.Deleted < before })
	return nil
}

func (m *memory) AddField(_ context.Context, name string) (uint32, error) {
	m.fields = append(m.fields, name)
	return uint32(len(m.fields)), nil
}

func (m *memory) AddIndex(_ context.Context, x engine.IndexRow) (int64, error) {
	m.last++
	x.Number = m.last
	m.indices[m.last] = x
	return m.last, nil
}

func (m *memory) UpdateIndex(_ context.Context, number, docs, seq int64, mapping string) error {
	x := m.indices[number]
	x.Docs, x.Seq, x.Mapping = docs, seq, cmp.Or(mapping, x.Mapping)
	m.indices[number] = x
	return nil
}

func (m *memory) DropIndex(_ context.Context, number int64) error {
	delete(m.indices, number)
	maps.DeleteFunc(m.docs, func(_ int64, d engine.DocRow) bool { return d.Index == number })
	maps.DeleteFunc(m.values, func(pk int64, _ []byte) bool { return pk >= engine.FirstPK(number) && pk < engine.FirstPK(number+1) })
	return nil
}

func (m *memory) PutTemplate(_ context.Context, name, body string) error {
	m.templates[name] = body
	if body == "" {
		delete(m.templates, name)
	}
	return nil
}
