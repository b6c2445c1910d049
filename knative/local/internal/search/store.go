package search

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// The rows of an index lie together: pk = index number << 40 | sequence number at first write.
const pkShift = 40

// tombstoneAge is how long a deleted document's version is remembered, as index.gc_deletes has it.
const tombstoneAge = time.Minute

const schema = `
CREATE TABLE IF NOT EXISTS indices (
  num INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, uuid TEXT NOT NULL, created INTEGER NOT NULL,
  mapping TEXT NOT NULL, settings TEXT NOT NULL, docs INTEGER NOT NULL DEFAULT 0, seq INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS templates (name TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS fields (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS docs (
  pk INTEGER PRIMARY KEY, idx INTEGER NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, seq INTEGER NOT NULL,
  deleted INTEGER NOT NULL DEFAULT 0, source BLOB);
CREATE UNIQUE INDEX IF NOT EXISTS docs_id ON docs (idx, id);
CREATE INDEX IF NOT EXISTS docs_deleted ON docs (deleted) WHERE deleted > 0;
CREATE TABLE IF NOT EXISTS vals (pk INTEGER PRIMARY KEY, v BLOB NOT NULL);
`

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
	write   *sql.DB
	read    *sql.DB
	mu      sync.Mutex // one writer
	conn    *sql.Conn
	stmts   statements
	catalog atomic.Pointer[catalog]
	now     func() time.Time
}

type statements struct {
	get, insert, update, bury, putVals, dropVals, field, index, updateIndex, reap *sql.Stmt
}

func openStore(ctx context.Context, dir string, now func() time.Time) (_ *store, err error) {
	path := "file:" + filepath.Join(dir, "search.db")
	// WAL with synchronous=NORMAL: what is committed is with the operating system and outlives this process, killed or
	// not; a power cut may lose the last commits, never the file.
	pragmas := "?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(10000)&_pragma=temp_store(MEMORY)"
	s := &store{now: now}
	if s.write, err = sql.Open("sqlite", path+pragmas+"&_pragma=cache_size(-16000)&_pragma=wal_autocheckpoint(4000)&_pragma=journal_size_limit(67108864)"); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.conn, err = s.write.Conn(ctx); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if _, err = s.conn.ExecContext(ctx, schema); err != nil {
		return nil, fmt.Errorf("create tables in %s: %w", path, err)
	}
	for stmt, text := range map[**sql.Stmt]string{
		&s.stmts.get:         "SELECT pk, version, seq, deleted FROM docs WHERE idx = ? AND id = ?",
		&s.stmts.insert:      "INSERT INTO docs (pk, idx, id, version, seq, deleted, source) VALUES (?, ?, ?, ?, ?, ?, ?)",
		&s.stmts.update:      "UPDATE docs SET version = ?, seq = ?, deleted = 0, source = ? WHERE pk = ?",
		&s.stmts.bury:        "UPDATE docs SET version = ?, seq = ?, deleted = ?, source = NULL WHERE pk = ?",
		&s.stmts.putVals:     "INSERT OR REPLACE INTO vals (pk, v) VALUES (?, ?)",
		&s.stmts.dropVals:    "DELETE FROM vals WHERE pk = ?",
		&s.stmts.field:       "INSERT INTO fields (name) VALUES (?)",
		&s.stmts.index:       "INSERT INTO indices (name, uuid, created, mapping, settings) VALUES (?, ?, ?, ?, ?)",
		&s.stmts.updateIndex: "UPDATE indices SET docs = ?, seq = ?, mapping = coalesce(?, mapping) WHERE num = ?",
		&s.stmts.reap:        "DELETE FROM docs WHERE deleted > 0 AND deleted < ?",
	} {
		if *stmt, err = s.conn.PrepareContext(ctx, text); err != nil {
			return nil, fmt.Errorf("prepare %q: %w", text, err)
		}
	}
	if s.read, err = sql.Open("sqlite", path+pragmas+"&_pragma=cache_size(-4000)&_pragma=query_only(1)"); err != nil {
		return nil, fmt.Errorf("open %s for reading: %w", path, err)
	}
	s.read.SetMaxOpenConns(4)
	s.read.SetMaxIdleConns(4)
	c, err := s.load(ctx)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	s.catalog.Store(c)
	return s, nil
}

func (s *store) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, st := range []*sql.Stmt{
		s.stmts.get, s.stmts.insert, s.stmts.update, s.stmts.bury, s.stmts.putVals, s.stmts.dropVals, s.stmts.field, s.stmts.index, s.stmts.updateIndex, s.stmts.reap,
	} {
		if st != nil {
			errs = append(errs, st.Close())
		}
	}
	if s.read != nil {
		errs = append(errs, s.read.Close())
	}
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	if s.write != nil {
		errs = append(errs, s.write.Close())
	}
	return errors.Join(errs...)
}

func (s *store) load(ctx context.Context) (*catalog, error) {
	c := &catalog{indices: map[string]*index{}, templates: map[string]*template{}, fields: map[string]uint32{}}
	err := s.each(ctx, "SELECT id, name FROM fields", func(r *sql.Rows) error {
		var id uint32
		var name string
		err := r.Scan(&id, &name)
		c.fields[name] = id
		return err
	})
	if err != nil {
		return nil, err
	}
	err = s.each(ctx, "SELECT name, body FROM templates", func(r *sql.Rows) error {
		var name, body string
		if err := r.Scan(&name, &body); err != nil {
			return err
		}
		t, err := parseTemplate(name, body)
		c.templates[name] = t
		return err
	})
	if err != nil {
		return nil, err
	}
	err = s.each(ctx, "SELECT num, name, uuid, created, mapping, settings, docs, seq FROM indices", func(r *sql.Rows) error {
		ix := &index{mapping: newMapping()}
		var m, set string
		if err := r.Scan(&ix.num, &ix.name, &ix.uuid, &ix.created, &m, &set, &ix.docs, &ix.seq); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(set), &ix.settings); err != nil {
			return fmt.Errorf("settings of %s: %w", ix.name, err)
		}
		ix.mapping.limit = ix.settings.fieldLimit()
		def, err := parseJSON(m)
		if err != nil {
			return fmt.Errorf("mapping of %s: %w", ix.name, err)
		}
		if err := ix.mapping.merge(&def); err != nil {
			return fmt.Errorf("mapping of %s: %w", ix.name, err)
		}
		for name, f := range ix.mapping.leaves {
			f.id = c.fields[name]
		}
		c.indices[ix.name] = ix
		return nil
	})
	return c, err
}

func (s *store) each(ctx context.Context, query string, f func(*sql.Rows) error) (err error) {
	rows, err := s.read.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// batch is one write transaction with the catalog as it will be once committed.
type batch struct {
	s       *store
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
	b := &batch{s: s, ctx: ctx, now: s.now(), next: &catalog{indices: maps.Clone(old.indices), templates: old.templates, fields: old.fields}, touched: map[*index]bool{}, mapped: map[*index]bool{}}
	if _, err := s.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	err := f(b)
	if err == nil {
		err = b.flush()
	}
	if err == nil {
		_, err = s.conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		if _, undo := s.conn.ExecContext(ctx, "ROLLBACK"); undo != nil {
			err = errors.Join(err, fmt.Errorf("roll back: %w", undo))
		}
		return err
	}
	s.catalog.Store(b.next)
	return nil
}

func (b *batch) flush() error {
	for ix := range b.touched {
		var m any
		if b.mapped[ix] {
			text, err := json.Marshal(ix.mapping.render())
			if err != nil {
				return err
			}
			m = string(text)
		}
		if _, err := b.s.stmts.updateIndex.ExecContext(b.ctx, ix.docs, ix.seq, m, ix.num); err != nil {
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
			r, err := b.s.stmts.field.ExecContext(b.ctx, leaf.name)
			if err != nil {
				return fmt.Errorf("number field %s: %w", leaf.name, err)
			}
			n, err := r.LastInsertId()
			if err != nil {
				return err
			}
			if !b.dirty {
				b.next.fields = maps.Clone(b.next.fields)
				b.dirty = true
			}
			id = uint32(n)
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
	r, err := b.s.stmts.index.ExecContext(b.ctx, name, ix.uuid, ix.created, string(text), string(set))
	if err != nil {
		return nil, fmt.Errorf("create index %s: %w", name, err)
	}
	if ix.num, err = r.LastInsertId(); err != nil {
		return nil, err
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
	low, high := ix.num<<pkShift, (ix.num+1)<<pkShift
	for _, q := range []string{"DELETE FROM docs WHERE pk >= ? AND pk < ?", "DELETE FROM vals WHERE pk >= ? AND pk < ?"} {
		if _, err := b.s.conn.ExecContext(b.ctx, q, low, high); err != nil {
			return fmt.Errorf("delete documents of %s: %w", name, err)
		}
	}
	if _, err := b.s.conn.ExecContext(b.ctx, "DELETE FROM indices WHERE num = ?", ix.num); err != nil {
		return fmt.Errorf("delete index %s: %w", name, err)
	}
	delete(b.next.indices, name)
	delete(b.touched, ix)
	return nil
}

func (b *batch) putTemplate(t *template) error {
	b.next.templates = maps.Clone(b.next.templates)
	b.next.templates[t.name] = t
	_, err := b.s.conn.ExecContext(b.ctx, "INSERT OR REPLACE INTO templates (name, body) VALUES (?, ?)", t.name, t.raw)
	return err
}

func (b *batch) dropTemplate(name string) error {
	b.next.templates = maps.Clone(b.next.templates)
	delete(b.next.templates, name)
	_, err := b.s.conn.ExecContext(b.ctx, "DELETE FROM templates WHERE name = ?", name)
	return err
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
	var pk, version, seq, deleted int64
	err := b.s.stmts.get.QueryRowContext(b.ctx, ix.num, id).Scan(&pk, &version, &seq, &deleted)
	known := err == nil
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return outcome{}, fmt.Errorf("look up %s/%s: %w", ix.name, id, err)
	}
	live := known && deleted == 0
	if err := conflict(o, ix, known, live, version, seq); err != nil {
		return outcome{}, err
	}
	if grown != nil {
		ix.mapping = grown
		b.mapped[ix] = true
	}
	next := version + 1
	if o.external != "" {
		next = o.version
	}
	out := outcome{op: o, version: next, seq: ix.seq}
	if o.action == "delete" {
		return out, b.bury(ix, &out, pk, known, live)
	}
	source := o.source
	if known {
		_, err = b.s.stmts.update.ExecContext(b.ctx, next, ix.seq, source, pk)
	} else {
		pk = ix.num<<pkShift | ix.seq
		_, err = b.s.stmts.insert.ExecContext(b.ctx, pk, ix.num, id, next, ix.seq, 0, source)
	}
	if err != nil {
		return outcome{}, fmt.Errorf("write %s/%s: %w", ix.name, id, err)
	}
	if _, err := b.s.stmts.putVals.ExecContext(b.ctx, pk, values); err != nil {
		return outcome{}, fmt.Errorf("write values of %s/%s: %w", ix.name, id, err)
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
func (b *batch) bury(ix *index, out *outcome, pk int64, known, live bool) error {
	at := b.now.UnixMilli()
	if !b.reaped {
		b.reaped = true
		if _, err := b.s.stmts.reap.ExecContext(b.ctx, at-tombstoneAge.Milliseconds()); err != nil {
			return fmt.Errorf("forget old deletions: %w", err)
		}
	}
	var err error
	if known {
		_, err = b.s.stmts.bury.ExecContext(b.ctx, out.version, ix.seq, at, pk)
	} else {
		_, err = b.s.stmts.insert.ExecContext(b.ctx, ix.num<<pkShift|ix.seq, ix.num, out.op.id, out.version, ix.seq, at, nil)
	}
	if err != nil {
		return fmt.Errorf("delete %s/%s: %w", ix.name, out.op.id, err)
	}
	ix.seq++
	out.status, out.result = http.StatusNotFound, "not_found"
	if live {
		if _, err := b.s.stmts.dropVals.ExecContext(b.ctx, pk); err != nil {
			return fmt.Errorf("delete values of %s/%s: %w", ix.name, out.op.id, err)
		}
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
		return bad("must not contain the following characters ['\\','/','*','?','\"','<','>','|',' ',',']")
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

// stored is a document as read back.
type stored struct {
	id      string
	version int64
	seq     int64
	source  []byte
}

// get reads one live document; nil where there is none.
func (s *store) get(ctx context.Context, ix *index, id string) (*stored, error) {
	d := &stored{id: id}
	err := s.read.QueryRowContext(ctx, "SELECT version, seq, source FROM docs WHERE idx = ? AND id = ? AND deleted = 0", ix.num, id).Scan(&d.version, &d.seq, &d.source)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s/%s: %w", ix.name, id, err)
	}
	return d, nil
}

// size is the documents' bytes as they came.
func (s *store) size(ctx context.Context, ix *index) (int64, error) {
	var n int64
	err := s.read.QueryRowContext(ctx, "SELECT coalesce(sum(length(source)), 0) FROM docs WHERE pk >= ? AND pk < ?", ix.num<<pkShift, (ix.num+1)<<pkShift).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", ix.name, err)
	}
	return n, nil
}
