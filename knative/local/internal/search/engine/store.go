package engine

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The rows of an index lie together: pk = index number << 40 | sequence number at first write.
const pkShift = 40

// tombstoneAge is how long a deleted document's version is remembered, as index.gc_deletes has it.
const tombstoneAge = time.Minute

// index is one index's state. A published one never changes: writers replace it.
type index struct {
	num      int64
	name     string
	uuid     string
	created  int64
	mapping  *mapping
	settings settings
	docs     int64
	seq      int64
}

type template struct {
	name     string
	patterns []string
	priority int64
	body     *node
	raw      string
}

// catalog is everything but documents. A published one never changes.
type catalog struct {
	indices   map[string]*index
	templates map[string]*template
	fields    map[string]uint32
}

type store struct {
	rows    Storage
	mu      sync.Mutex // one writer
	catalog atomic.Pointer[catalog]
	now     func() time.Time
}

func openStore(ctx context.Context, rows Storage, now func() time.Time) (*store, error) {
	s := &store{rows: rows, now: now}
	c, err := s.load(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the indices: %w", err)
	}
	s.catalog.Store(c)
	return s, nil
}

func (s *store) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows.Close()
}

func (s *store) load(ctx context.Context) (*catalog, error) {
	c := &catalog{indices: map[string]*index{}, templates: map[string]*template{}, fields: map[string]uint32{}}
	field := func(id uint32, name string) { c.fields[name] = id }
	template := func(name, body string) error {
		t, err := parseTemplate(name, body)
		c.templates[name] = t
		return err
	}
	index := func(row IndexRow) error {
		ix := &index{num: row.Number, name: row.Name, uuid: row.UUID, created: row.Created, docs: row.Docs, seq: row.Seq, mapping: newMapping()}
		if err := json.Unmarshal([]byte(row.Settings), &ix.settings); err != nil {
			return fmt.Errorf("settings of %s: %w", ix.name, err)
		}
		ix.mapping.limit = ix.settings.fieldLimit()
		def, err := parseJSON(row.Mapping)
		if err != nil {
			return fmt.Errorf("mapping of %s: %w", ix.name, err)
		}
		if err := ix.mapping.merge(&def); err != nil {
			return fmt.Errorf("mapping of %s: %w", ix.name, err)
		}
		c.indices[ix.name] = ix
		return nil
	}
	if err := s.rows.Read(ctx, func(r Reader) error { return r.Load(ctx, field, template, index) }); err != nil {
		return nil, err
	}
	for _, ix := range c.indices {
		for name, f := range ix.mapping.leaves {
			f.id = c.fields[name]
		}
	}
	return c, nil
}

// batch is one write transaction with the catalog as it will be once committed.
type batch struct {
	rows    Writer
	ctx     context.Context //nolint:containedctx // lives as long as the transaction
	now     time.Time
	next    *catalog
	touched map[*index]bool // indices cloned in this batch
	mapped  map[*index]bool // of those, with a changed mapping
	dirty   bool
	reaped  bool
}

// update runs f in a transaction and publishes the catalog it leaves. The context's end does not stop it half way: it either
// commits or has no effect.
func (s *store) update(ctx context.Context, f func(*batch) error) error {
	ctx = context.WithoutCancel(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.catalog.Load()
	b := &batch{ctx: ctx, now: s.now(), next: &catalog{indices: maps.Clone(old.indices), templates: old.templates, fields: old.fields}, touched: map[*index]bool{}, mapped: map[*index]bool{}}
	err := s.rows.Write(ctx, func(w Writer) error {
		b.rows = w
		if err := f(b); err != nil {
			return err
		}
		return b.flush()
	})
	if err != nil {
		return err
	}
	s.catalog.Store(b.next)
	return nil
}

func (b *batch) flush() error {
	for ix := range b.touched {
		var m []byte
		if b.mapped[ix] {
			var err error
			if m, err = json.Marshal(ix.mapping.render()); err != nil {
				return err
			}
		}
		if err := b.rows.UpdateIndex(b.ctx, ix.num, ix.docs, ix.seq, string(m)); err != nil {
			return fmt.Errorf("update index %s: %w", ix.name, err)
		}
	}
	return nil
}

// index gives this batch's own copy of an index; nil where there is none.
func (b *batch) index(name string) *index {
	ix := b.next.indices[name]
	if ix == nil || b.touched[ix] {
		return ix
	}
	c := *ix
	b.next.indices[name] = &c
	b.touched[&c] = true
	return &c
}

func (b *batch) assign(f *field) error {
	for _, leaf := range append([]*field{f}, fieldsOf(f.multi)...) {
		if leaf.id != 0 {
			continue
		}
		id, known := b.next.fields[leaf.name]
		if !known {
			n, err := b.rows.AddField(b.ctx, leaf.name)
			if err != nil {
				return fmt.Errorf("number field %s: %w", leaf.name, err)
			}
			if !b.dirty {
				b.next.fields = maps.Clone(b.next.fields)
				b.dirty = true
			}
			id = n
			b.next.fields[leaf.name] = id
		}
		leaf.id = id
	}
	return nil
}

func fieldsOf(m map[string]*field) []*field {
	out := make([]*field, 0, len(m))
	for _, f := range m {
		out = append(out, f)
	}
	return out
}

// create makes an index from the matching template and what the request adds.
func (b *batch) create(name string, mappings, extra *node) (*index, error) {
	if err := checkIndexName(name); err != nil {
		return nil, err
	}
	if old := b.next.indices[name]; old != nil {
		return nil, fail(http.StatusBadRequest, "resource_already_exists_exception", "index [%s/%s] already exists", name, old.uuid).with("index_uuid", old.uuid, "index", name)
	}
	ix := &index{name: name, uuid: randomID(16), created: b.now.UnixMilli(), mapping: newMapping(), settings: settings{}}
	if t := b.next.template(name); t != nil {
		m, set := t.parts()
		if err := ix.settings.merge(set); err != nil {
			return nil, err
		}
		ix.mapping.limit = ix.settings.fieldLimit()
		if m != nil {
			if err := ix.mapping.merge(m); err != nil {
				return nil, err
			}
		}
	}
	if err := ix.settings.merge(extra); err != nil {
		return nil, err
	}
	ix.mapping.limit = ix.settings.fieldLimit()
	if mappings != nil {
		if err := ix.mapping.merge(mappings); err != nil {
			return nil, err
		}
	}
	for _, f := range ix.mapping.leaves {
		if err := b.assign(f); err != nil {
			return nil, err
		}
	}
	text, err := json.Marshal(ix.mapping.render())
	if err != nil {
		return nil, err
	}
	set, err := json.Marshal(ix.settings)
	if err != nil {
		return nil, err
	}
	if ix.num, err = b.rows.AddIndex(b.ctx, IndexRow{Name: name, UUID: ix.uuid, Created: ix.created, Mapping: string(text), Settings: string(set)}); err != nil {
		return nil, fmt.Errorf("create index %s: %w", name, err)
	}
	b.next.indices[name] = ix
	b.touched[ix] = true
	return ix, nil
}

// putMapping adds fields to an index.
func (b *batch) putMapping(name string, def *node) error {
	ix := b.index(name)
	m := ix.mapping.clone()
	if err := m.merge(def); err != nil {
		return err
	}
	for _, f := range m.leaves {
		if err := b.assign(f); err != nil {
			return err
		}
	}
	ix.mapping = m
	b.mapped[ix] = true
	return nil
}

func (b *batch) drop(name string) error {
	ix := b.next.indices[name]
	if err := b.rows.DropIndex(b.ctx, ix.num); err != nil {
		return fmt.Errorf("delete index %s: %w", name, err)
	}
	delete(b.next.indices, name)
	delete(b.touched, ix)
	return nil
}

func (b *batch) putTemplate(t *template) error {
	b.next.templates = maps.Clone(b.next.templates)
	b.next.templates[t.name] = t
	return b.rows.PutTemplate(b.ctx, t.name, t.raw)
}

func (b *batch) dropTemplate(name string) error {
	b.next.templates = maps.Clone(b.next.templates)
	delete(b.next.templates, name)
	return b.rows.PutTemplate(b.ctx, name, "")
}

// op is one document operation.
type op struct {
	action       string // index, create, delete
	index        string
	id           string
	version      int64
	external     string // "", external, external_gte
	ifSeq        int64  // -1: unconditional
	ifTerm       int64
	requireAlias bool
	refused      *apiError // whatever the index holds
	source       string
}

// outcome is what became of an op.
type outcome struct {
	op      *op
	status  int
	result  string
	version int64
	seq     int64
	err     *apiError
}

// apply runs one op. An *apiError is the item's own; any other error ends the batch.
func (b *batch) apply(o *op) (outcome, error) {
	out, err := b.tryApply(o)
	var refused *apiError
	if errors.As(err, &refused) {
		return outcome{op: o, status: refused.status, err: refused}, nil
	}
	return out, err
}

func (b *batch) tryApply(o *op) (outcome, error) {
	if o.refused != nil {
		return outcome{}, o.refused
	}
	if o.requireAlias {
		return outcome{}, fail(http.StatusNotFound, "index_not_found_exception", "no such index [%s] and [require_alias] request flag is [true] and [%s] is not an alias", o.index, o.index).
			with("index_uuid", "_na_", "index", o.index)
	}
	ix := b.index(o.index)
	if ix == nil {
		if err := checkIndexName(o.index); err != nil {
			return outcome{}, err
		}
		if o.action == "delete" && o.external == "" {
			return outcome{}, indexNotFound(o.index)
		}
		var err error
		if ix, err = b.create(o.index, nil, nil); err != nil {
			return outcome{}, err
		}
	}
	id := o.id
	if id == "" {
		id = randomID(15)
		o.id = id
	}
	var values []byte
	var grown *mapping
	if o.action != "delete" {
		var err error
		if values, grown, err = b.encode(ix, o); err != nil {
			return outcome{}, err
		}
	}
	row, err := b.rows.Find(b.ctx, ix.num, id)
	if err != nil {
		return outcome{}, fmt.Errorf("look up %s/%s: %w", ix.name, id, err)
	}
	known := row != nil
	if !known {
		row = &DocRow{PK: FirstPK(ix.num) | ix.seq, Index: ix.num, ID: id}
	}
	live := known && row.Deleted == 0
	if err := conflict(o, ix, known, live, row.Version, row.Seq); err != nil {
		return outcome{}, err
	}
	if grown != nil {
		ix.mapping = grown
		b.mapped[ix] = true
	}
	next := row.Version + 1
	if o.external != "" {
		next = o.version
	}
	out := outcome{op: o, version: next, seq: ix.seq}
	row.Version, row.Seq = next, ix.seq
	if o.action == "delete" {
		return out, b.bury(ix, &out, row, known, live)
	}
	row.Deleted, row.Source = 0, []byte(o.source)
	if err := b.rows.Put(b.ctx, row, known, values); err != nil {
		return outcome{}, fmt.Errorf("write %s/%s: %w", ix.name, id, err)
	}
	out.status, out.result = http.StatusOK, "updated"
	if !live {
		out.status, out.result = http.StatusCreated, "created"
		ix.docs++
	}
	ix.seq++
	return out, nil
}

// bury deletes a document but keeps its version for a while, so that a late write with an older external version stays a conflict.
func (b *batch) bury(ix *index, out *outcome, row *DocRow, known, live bool) error {
	at := b.now.UnixMilli()
	if !b.reaped {
		b.reaped = true
		if err := b.rows.Reap(b.ctx, at-tombstoneAge.Milliseconds()); err != nil {
			return fmt.Errorf("forget old deletions: %w", err)
		}
	}
	row.Deleted = at
	if err := b.rows.Put(b.ctx, row, known, nil); err != nil {
		return fmt.Errorf("delete %s/%s: %w", ix.name, row.ID, err)
	}
	ix.seq++
	out.status, out.result = http.StatusNotFound, "not_found"
	if live {
		out.status, out.result = http.StatusOK, "deleted"
		ix.docs--
	}
	return nil
}

// encode makes the document's values, with the mapping it grew where it brought new fields.
func (b *batch) encode(ix *index, o *op) ([]byte, *mapping, error) {
	e := encoder{m: ix.mapping, id: o.id, out: make([]byte, 0, 512)}
	err := e.encode(o.source)
	if !errors.Is(err, errNeedsMapping) {
		return e.out, nil, err
	}
	e = encoder{m: ix.mapping.clone(), id: o.id, assign: b.assign}
	if err := e.encode(o.source); err != nil {
		return nil, nil, err
	}
	return e.out, e.m, nil
}

func conflict(o *op, ix *index, known, live bool, version, seq int64) error {
	refuse := func(format string, args ...any) error {
		return fail(http.StatusConflict, "version_conflict_engine_exception", "["+"%s"+"]: version conflict, "+format, append([]any{o.id}, args...)...).
			with("index_uuid", ix.uuid, "shard", "0", "index", ix.name)
	}
	switch {
	case o.action == "create" && live:
		return refuse("document already exists (current version [%d])", version)
	case o.external == "external" && known && version >= o.version:
		return refuse("current version [%d] is higher or equal to the one provided [%d]", version, o.version)
	case o.external == "external_gte" && known && version > o.version:
		return refuse("current version [%d] is higher than the one provided [%d]", version, o.version)
	case o.ifSeq >= 0 && !live:
		return refuse("required seqNo [%d], primary term [%d]. but no document was found", o.ifSeq, o.ifTerm)
	case o.ifSeq >= 0 && (seq != o.ifSeq || o.ifTerm != 1):
		return refuse("required seqNo [%d], primary term [%d]. current document has seqNo [%d] and primary term [1]", o.ifSeq, o.ifTerm, seq)
	}
	return nil
}

func randomID(n int) string {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never fails: crypto/rand ends the process instead
	return base64.RawURLEncoding.EncodeToString(raw)
}

func checkIndexName(name string) error {
	bad := func(why string) error {
		return fail(http.StatusBadRequest, "invalid_index_name_exception", "Invalid index name [%s], %s", name, why).with("index_uuid", "_na_", "index", name)
	}
	switch {
	case name == "":
		return bad("must not be empty")
	case strings.ContainsAny(name, "\\/*?\"<>| ,"):
		return bad("must not contain the following characters [' ','\"','*',',','/','<','>','?','\\','|']")
	case strings.Contains(name, "#"):
		return bad("must not contain '#'")
	case strings.Contains(name, ":"):
		return bad("must not contain ':'")
	case strings.ContainsAny(name[:1], "_-+"):
		return bad("must not start with '_', '-', or '+'")
	case strings.ToLower(name) != name:
		return bad("must be lowercase")
	case name == "." || name == "..":
		return bad("must not be '.' or '..'")
	case len(name) > 255:
		return bad(fmt.Sprintf("index name is too long, (%d > 255)", len(name)))
	}
	return nil
}

// size is the documents' bytes as they came.
func (s *store) size(ctx context.Context, ix *index) (n int64, err error) {
	err = s.rows.Read(ctx, func(r Reader) error {
		n, err = r.Size(ctx, ix.num)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", ix.name, err)
	}
	return n, nil
}
