package search

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"millrace/knative/local/internal/search/engine"
)

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

// database is an engine's storage on SQLite: one connection writes, four read.
type database struct {
	write *sql.DB
	read  *sql.DB
	conn  *sql.Conn
	stmts map[string]*sql.Stmt // of conn
}

// The writer's statements, prepared once.
const (
	stmtFind        = "SELECT pk, version, seq, deleted FROM docs WHERE idx = ? AND id = ?"
	stmtInsert      = "INSERT INTO docs (pk, idx, id, version, seq, deleted, source) VALUES (?, ?, ?, ?, ?, ?, ?)"
	stmtUpdate      = "UPDATE docs SET version = ?, seq = ?, deleted = ?, source = ? WHERE pk = ?"
	stmtPutVals     = "INSERT OR REPLACE INTO vals (pk, v) VALUES (?, ?)"
	stmtDropVals    = "DELETE FROM vals WHERE pk = ?"
	stmtField       = "INSERT INTO fields (name) VALUES (?)"
	stmtUpdateIndex = "UPDATE indices SET docs = ?, seq = ?, mapping = coalesce(nullif(?, ''), mapping) WHERE num = ?"
)

func openDatabase(ctx context.Context, dir string) (_ *database, err error) {
	path := "file:" + filepath.Join(dir, "search.db")
	// WAL with synchronous=NORMAL: what is committed is with the operating system and outlives this process, killed or
	// not; a power cut may lose the last commits, never the file.
	pragmas := "?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(10000)&_pragma=temp_store(MEMORY)"
	d := &database{stmts: map[string]*sql.Stmt{}}
	if d.write, err = sql.Open("sqlite", path+pragmas+"&_pragma=cache_size(-16000)&_pragma=wal_autocheckpoint(4000)&_pragma=journal_size_limit(67108864)"); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if d.conn, err = d.write.Conn(ctx); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if _, err = d.conn.ExecContext(ctx, schema); err != nil {
		return nil, fmt.Errorf("create tables in %s: %w", path, err)
	}
	for _, text := range []string{stmtFind, stmtInsert, stmtUpdate, stmtPutVals, stmtDropVals, stmtField, stmtUpdateIndex} {
		if d.stmts[text], err = d.conn.PrepareContext(ctx, text); err != nil {
			return nil, fmt.Errorf("prepare %q: %w", text, err)
		}
	}
	if d.read, err = sql.Open("sqlite", path+pragmas+"&_pragma=cache_size(-4000)&_pragma=query_only(1)"); err != nil {
		return nil, fmt.Errorf("open %s for reading: %w", path, err)
	}
	d.read.SetMaxOpenConns(4)
	d.read.SetMaxIdleConns(4)
	return d, nil
}

// Close closes the file. It waits for readers.
func (d *database) Close() error {
	var errs []error
	for _, st := range d.stmts {
		if st != nil {
			errs = append(errs, st.Close())
		}
	}
	if d.read != nil {
		errs = append(errs, d.read.Close())
	}
	if d.conn != nil {
		errs = append(errs, d.conn.Close())
	}
	if d.write != nil {
		errs = append(errs, d.write.Close())
	}
	return errors.Join(errs...)
}

// Read runs f in a transaction that only reads.
func (d *database) Read(ctx context.Context, f func(engine.Reader) error) error {
	tx, err := d.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return fmt.Errorf("begin reading: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // it wrote nothing
	r := reader{tx: tx, stmts: map[string]*sql.Stmt{}}
	err = f(r)
	for _, st := range r.stmts {
		err = errors.Join(err, st.Close())
	}
	return err
}

// Write runs f in a transaction.
func (d *database) Write(ctx context.Context, f func(engine.Writer) error) error {
	ctx = context.WithoutCancel(ctx)
	if _, err := d.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	err := f(writer{d})
	if err == nil {
		_, err = d.conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		if _, undo := d.conn.ExecContext(ctx, "ROLLBACK"); undo != nil {
			err = errors.Join(err, fmt.Errorf("roll back: %w", undo))
		}
	}
	return err
}

type reader struct {
	tx    *sql.Tx
	stmts map[string]*sql.Stmt // of tx, made when first needed
}

// row runs a query of one row, prepared at most once in this transaction. It is short, so it does not end early with ctx, for which the driver would start a goroutine.
func (r reader) row(ctx context.Context, query string, args []any, to ...any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	st := r.stmts[query]
	if st == nil {
		var err error
		if st, err = r.tx.PrepareContext(ctx, query); err != nil {
			return fmt.Errorf("prepare %q: %w", query, err)
		}
		r.stmts[query] = st
	}
	return st.QueryRowContext(ctx, args...).Scan(to...)
}

func (r reader) Load(ctx context.Context, field func(uint32, string), template func(name, body string) error, index func(engine.IndexRow) error) error {
	return errors.Join(
		r.each(ctx, "SELECT id, name FROM fields", func(rows *sql.Rows) error {
			var id uint32
			var name string
			if err := rows.Scan(&id, &name); err != nil {
				return err
			}
			field(id, name)
			return nil
		}),
		r.each(ctx, "SELECT name, body FROM templates", func(rows *sql.Rows) error {
			var name, body string
			if err := rows.Scan(&name, &body); err != nil {
				return err
			}
			return template(name, body)
		}),
		r.each(ctx, "SELECT num, name, uuid, created, mapping, settings, docs, seq FROM indices", func(rows *sql.Rows) error {
			var x engine.IndexRow
			if err := rows.Scan(&x.Number, &x.Name, &x.UUID, &x.Created, &x.Mapping, &x.Settings, &x.Docs, &x.Seq); err != nil {
				return err
			}
			return index(x)
		}))
}

func (r reader) each(ctx context.Context, query string, f func(*sql.Rows) error, args ...any) (err error) {
	rows, err := r.tx.QueryContext(ctx, query, args...)
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

func (r reader) Scan(ctx context.Context, index int64, limit int, f func(int64, []byte) error) error {
	if limit == 0 {
		return nil
	}
	var pk int64
	var values sql.RawBytes
	// A negative limit is none.
	return r.each(ctx, "SELECT pk, v FROM vals WHERE pk >= ? AND pk < ? ORDER BY pk LIMIT ?", func(rows *sql.Rows) error {
		if err := rows.Scan(&pk, &values); err != nil {
			return err
		}
		return f(pk, values)
	}, engine.FirstPK(index), engine.FirstPK(index+1), limit)
}

func (r reader) Values(ctx context.Context, pk int64) (values []byte, err error) {
	err = r.row(ctx, "SELECT v FROM vals WHERE pk = ?", []any{pk}, &values)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return values, err
}

func (r reader) Find(ctx context.Context, index int64, id string) (*engine.DocRow, error) {
	d := &engine.DocRow{Index: index, ID: id}
	err := r.row(ctx, "SELECT pk, version, seq, deleted, source FROM docs WHERE idx = ? AND id = ?", []any{index, id}, &d.PK, &d.Version, &d.Seq, &d.Deleted, &d.Source)
	return found(d, err)
}

// found makes no error of a row that is not there.
func found(d *engine.DocRow, err error) (*engine.DocRow, error) {
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (r reader) Document(ctx context.Context, pk int64) (*engine.DocRow, error) {
	d := &engine.DocRow{PK: pk}
	err := r.row(ctx, "SELECT idx, id, version, seq, deleted, source FROM docs WHERE pk = ?", []any{pk}, &d.Index, &d.ID, &d.Version, &d.Seq, &d.Deleted, &d.Source)
	return d, err
}

func (r reader) Size(ctx context.Context, index int64) (n int64, err error) {
	err = r.tx.QueryRowContext(ctx, "SELECT coalesce(sum(length(source)), 0) FROM docs WHERE pk >= ? AND pk < ?", engine.FirstPK(index), engine.FirstPK(index+1)).Scan(&n)
	return n, err
}

type writer struct{ d *database }

func (w writer) exec(ctx context.Context, stmt string, args ...any) (sql.Result, error) {
	if prepared := w.d.stmts[stmt]; prepared != nil {
		return prepared.ExecContext(ctx, args...)
	}
	return w.d.conn.ExecContext(ctx, stmt, args...)
}

func (w writer) Find(ctx context.Context, index int64, id string) (*engine.DocRow, error) {
	d := &engine.DocRow{Index: index, ID: id}
	return found(d, w.d.stmts[stmtFind].QueryRowContext(ctx, index, id).Scan(&d.PK, &d.Version, &d.Seq, &d.Deleted))
}

func (w writer) Put(ctx context.Context, d *engine.DocRow, known bool, values []byte) error {
	var source any // a deleted document's is NULL
	if d.Deleted == 0 {
		source = string(d.Source)
	}
	var err error
	if known {
		_, err = w.exec(ctx, stmtUpdate, d.Version, d.Seq, d.Deleted, source, d.PK)
	} else {
		_, err = w.exec(ctx, stmtInsert, d.PK, d.Index, d.ID, d.Version, d.Seq, d.Deleted, source)
	}
	if err != nil {
		return err
	}
	if d.Deleted == 0 {
		_, err = w.exec(ctx, stmtPutVals, d.PK, values)
	} else if known {
		_, err = w.exec(ctx, stmtDropVals, d.PK)
	}
	return err
}

func (w writer) Reap(ctx context.Context, before int64) error {
	_, err := w.exec(ctx, "DELETE FROM docs WHERE deleted > 0 AND deleted < ?", before)
	return err
}

func (w writer) AddField(ctx context.Context, name string) (uint32, error) {
	r, err := w.exec(ctx, stmtField, name)
	if err != nil {
		return 0, err
	}
	n, err := r.LastInsertId()
	return uint32(n), err
}

func (w writer) AddIndex(ctx context.Context, x engine.IndexRow) (int64, error) {
	r, err := w.exec(ctx, "INSERT INTO indices (name, uuid, created, mapping, settings) VALUES (?, ?, ?, ?, ?)", x.Name, x.UUID, x.Created, x.Mapping, x.Settings)
	if err != nil {
		return 0, err
	}
	return r.LastInsertId()
}

func (w writer) UpdateIndex(ctx context.Context, number, docs, seq int64, mapping string) error {
	_, err := w.exec(ctx, stmtUpdateIndex, docs, seq, mapping, number)
	return err
}

func (w writer) DropIndex(ctx context.Context, number int64) error {
	low, high := engine.FirstPK(number), engine.FirstPK(number+1)
	for _, q := range []string{"DELETE FROM docs WHERE pk >= ? AND pk < ?", "DELETE FROM vals WHERE pk >= ? AND pk < ?"} {
		if _, err := w.exec(ctx, q, low, high); err != nil {
			return err
		}
	}
	_, err := w.exec(ctx, "DELETE FROM indices WHERE num = ?", number)
	return err
}

func (w writer) PutTemplate(ctx context.Context, name, body string) error {
	if body == "" {
		_, err := w.exec(ctx, "DELETE FROM templates WHERE name = ?", name)
		return err
	}
	_, err := w.exec(ctx, "INSERT OR REPLACE INTO templates (name, body) VALUES (?, ?)", name, body)
	return err
}
