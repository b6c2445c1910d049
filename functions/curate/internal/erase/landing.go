package erase

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"millrace/shared/landing"
	"millrace/shared/objectstore"
)

// object is a landing object that a log names.
type object struct {
	landing.Object
	bucket *objectstore.Bucket
	log    *landing.Log
}

// row is what is read of a row to tell whose it is; what it has not is empty.
type row struct{ root, subject, examples string }

// objects returns all objects of all logs, in the order of their entries.
func (e *eraser) objects(ctx context.Context) ([]*object, error) {
	var all []*object
	for _, b := range e.Buckets {
		names, err := landing.Logs(ctx, b)
		if err != nil {
			return nil, fmt.Errorf("erase: %w", err)
		}
		for _, n := range names {
			log := landing.Open(b, n.Topic, n.TopicID)
			if err := log.After(ctx, 0, func(entry landing.Entry) error {
				for _, o := range entry.Objects {
					all = append(all, &object{o, b, log})
				}
				return nil
			}); err != nil {
				return nil, fmt.Errorf("erase: %w", err)
			}
		}
	}
	return all, nil
}

// small is up to how many bytes an object is fetched whole to look at some of its columns.
const small = 4 << 20

// ranged reads an object by ranges.
type ranged struct {
	ctx    context.Context
	bucket *objectstore.Bucket
	key    string
}

// ReadAt implements io.ReaderAt.
func (r ranged) ReadAt(p []byte, at int64) (int, error) {
	b, _, err := r.bucket.GetRange(r.ctx, r.key, at, int64(len(p)))
	return copy(p, b), err
}

// attributes are the columns of personal that landing objects have.
var attributes = []string{"root_id", "subject"}

// scan calls f with each row of the object, of which it reads no more columns than it needs.
func (o *object) scan(ctx context.Context, f func(row)) error {
	body, size := io.ReaderAt(nil), int64(0)
	if o.Bytes <= small {
		b, err := o.bucket.Get(ctx, o.Key)
		if err != nil {
			return fmt.Errorf("object %s: %w", o.Key, err)
		}
		body, size = bytes.NewReader(b), int64(len(b))
	} else {
		info, err := o.bucket.Stat(ctx, o.Key) // it may have been rewritten by an earlier erasure
		if err != nil {
			return fmt.Errorf("object %s: %w", o.Key, err)
		}
		body, size = ranged{ctx, o.bucket, o.Key}, info.Size
	}
	if err := scan(body, size, attributes, f); err != nil {
		return fmt.Errorf("object %s: %w", o.Key, err)
	}
	return nil
}

// scan calls f with each row of a Parquet file, of which it reads the named columns of personal and no others: they may not be there.
func scan(body io.ReaderAt, size int64, names []string, f func(row)) error {
	file, err := parquet.OpenFile(body, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true), parquet.ReadBufferSize(1<<20))
	if err != nil {
		return fmt.Errorf("read as Parquet: %w", err)
	}
	for _, g := range file.RowGroups() {
		if err := scanGroup(file.Schema(), g, names, f); err != nil {
			return fmt.Errorf("read as Parquet: %w", err)
		}
	}
	return nil
}

func scanGroup(schema *parquet.Schema, g parquet.RowGroup, names []string, f func(row)) (err error) {
	var r row
	into := map[string]*string{"root_id": &r.root, "subject": &r.subject, "examples": &r.examples}
	var columns []*texts
	for _, name := range names {
		leaf, ok := schema.Lookup(name)
		if !ok {
			continue // an older file of the table
		}
		if leaf.Node.Type().Kind() != parquet.ByteArray || leaf.MaxRepetitionLevel > 0 {
			return fmt.Errorf("its column %s is no text", name)
		}
		t := &texts{pages: g.ColumnChunks()[leaf.ColumnIndex].Pages(), into: into[name]}
		defer func() { err = errors.Join(err, t.pages.Close()) }()
		columns = append(columns, t)
	}
	for range g.NumRows() {
		for _, t := range columns {
			if *t.into, err = t.next(); err != nil {
				return err
			}
		}
		f(r)
	}
	return nil
}

// texts reads the values of a column chunk one by one.
type texts struct {
	into  *string
	pages parquet.Pages
	page  parquet.ValueReader
	buf   [256]parquet.Value
	i, n  int
}

// next returns the next value; a null is empty.
func (t *texts) next() (string, error) {
	for t.i == t.n {
		if t.page == nil {
			p, err := t.pages.ReadPage()
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			if err != nil {
				return "", err
			}
			t.page = p.Values()
		}
		n, err := t.page.ReadValues(t.buf[:])
		t.i, t.n = 0, n
		if errors.Is(err, io.EOF) {
			t.page = nil
		} else if err != nil {
			return "", err
		}
	}
	t.i++
	return valueText(t.buf[t.i-1]), nil
}

// landing rewrites the objects of a kind that hold rows of the person.
func (e *eraser) landing(ctx context.Context, objects []*object, kind string) error {
	found := map[string]*Found{}
	var order []string
	for _, o := range objects {
		if o.Kind != kind {
			continue
		}
		rows := int64(0)
		err := o.scan(ctx, func(r row) {
			if e.theirs(r.root, r.subject) {
				rows++
			}
		})
		if errors.Is(err, objectstore.ErrNotFound) {
			e.report.Unlisted = append(e.report.Unlisted, o.bucket.Name()+"/"+o.Key)
			continue
		}
		if err != nil {
			return err
		}
		if rows == 0 {
			continue
		}
		where := o.bucket.Name() + "/" + landing.Prefix(kind)
		if found[where] == nil {
			found[where] = &Found{Where: where}
			order = append(order, where)
		}
		found[where].Objects++
		found[where].Rows += rows
		if !e.Apply {
			continue
		}
		if err := e.rewrite(ctx, o); err != nil {
			return err
		}
		e.Logger.Info("landing object rewritten", "erasure", e.ID, "object", o.bucket.Name()+"/"+o.Key, "rows", rows)
	}
	for _, where := range order {
		e.report.Landing = append(e.report.Landing, *found[where])
	}
	return nil
}

// rewrite publishes what the object is without the person's rows, and then makes it that.
func (e *eraser) rewrite(ctx context.Context, o *object) error {
	before, err := o.bucket.Get(ctx, o.Key)
	if err != nil {
		return fmt.Errorf("object %s: %w", o.Key, err)
	}
	was := hash(before)
	versions := e.versions[o.log]
	if versions == nil {
		if versions, err = o.log.Versions(ctx); err != nil {
			return err
		}
		e.versions[o.log] = versions
	}
	var gone []landing.Gone
	if was != o.SHA256 {
		version, ok := versions.Find(o.Key, was)
		if !ok {
			return fmt.Errorf("object %s has neither the bytes that its log names nor those of an erasure: mend it first (SHA-256 %s)", o.Key, was)
		}
		gone = version.Gone
	}
	after, left, removed, err := e.without(before)
	if err != nil {
		return fmt.Errorf("object %s: %w", o.Key, err)
	}
	version := landing.Erased{Key: o.Key, Was: was, SHA256: hash(after), Bytes: int64(len(after)), Rows: left, Gone: ranges(append(gone, removed...))}
	if _, published := versions.Find(o.Key, version.SHA256); !published { // by a run that was killed
		if err := o.log.Erase(ctx, landing.Erasure{ID: e.ID, Time: e.Clock(), Objects: []landing.Erased{version}}); err != nil {
			return err
		}
		versions[o.Key] = append(versions[o.Key], version)
	}
	if err := o.bucket.Put(ctx, o.Key, after); err != nil {
		return fmt.Errorf("object %s: %w", o.Key, err)
	}
	return nil
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// ranges joins offsets to as few ranges as there are, in order.
func ranges(all []landing.Gone) []landing.Gone {
	slices.SortFunc(all, func(a, b landing.Gone) int {
		if a.Partition != b.Partition {
			return int(a.Partition) - int(b.Partition)
		}
		return int(min(max(a.First-b.First, -1), 1))
	})
	var out []landing.Gone
	for _, g := range all {
		if n := len(out); n > 0 && out[n-1].Partition == g.Partition && g.First <= out[n-1].Last+1 {
			out[n-1].Last = max(out[n-1].Last, g.Last)
			continue
		}
		out = append(out, g)
	}
	return out
}

// rowGroup is how many bytes of rows, as they are in memory, make a row group.
const rowGroup = 64 << 20

// without returns the Parquet file without the person's rows, how many are left, and the offsets of those removed. The columns, their types and the rows' order stay.
func (e *eraser) without(body []byte) (out []byte, left int64, gone []landing.Gone, err error) {
	file, err := parquet.OpenFile(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		return nil, 0, nil, fmt.Errorf("read as Parquet: %w", err)
	}
	schema := file.Schema()
	column := func(name string) (int, error) {
		leaf, ok := schema.Lookup(name)
		if !ok {
			return 0, fmt.Errorf("it has no column %s: no object of load-lake's", name)
		}
		return leaf.ColumnIndex, nil
	}
	var at [4]int
	for i, name := range []string{"root_id", "subject", "kafka_partition", "kafka_offset"} {
		if at[i], err = column(name); err != nil {
			return nil, 0, nil, err
		}
	}
	var buf bytes.Buffer
	w := parquet.NewGenericWriter[any](&buf, schema, parquet.Compression(&zstd.Codec{Level: zstd.SpeedDefault}), parquet.CreatedBy("millrace", "1", ""), parquet.SkipPageBounds("payload"))
	rows, pending := make([]parquet.Row, 128), 0
	for _, g := range file.RowGroups() {
		reader := g.Rows()
		for {
			n, err := reader.ReadRows(rows)
			for _, r := range rows[:n] {
				var found [4]parquet.Value
				for _, v := range r {
					if i := slices.Index(at[:], v.Column()); i >= 0 {
						found[i] = v
					}
				}
				if e.theirs(valueText(found[0]), valueText(found[1])) {
					if found[2].IsNull() || found[3].IsNull() {
						return nil, 0, nil, errors.Join(errors.New("a row has no kafka_partition or kafka_offset"), reader.Close())
					}
					gone = append(gone, landing.Gone{Partition: found[2].Int32(), First: found[3].Int64(), Last: found[3].Int64()})
					continue
				}
				if _, err := w.WriteRows([]parquet.Row{r}); err != nil {
					return nil, 0, nil, errors.Join(fmt.Errorf("write Parquet: %w", err), reader.Close())
				}
				left++
				for _, v := range r {
					pending += 8
					if v.Kind() == parquet.ByteArray {
						pending += len(v.ByteArray())
					}
				}
			}
			if pending >= rowGroup {
				if err := w.Flush(); err != nil {
					return nil, 0, nil, errors.Join(fmt.Errorf("write Parquet: %w", err), reader.Close())
				}
				pending = 0
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, 0, nil, errors.Join(fmt.Errorf("read as Parquet: %w", err), reader.Close())
			}
		}
		if err := reader.Close(); err != nil {
			return nil, 0, nil, fmt.Errorf("read as Parquet: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, 0, nil, fmt.Errorf("write Parquet: %w", err)
	}
	return buf.Bytes(), left, gone, nil
}

func valueText(v parquet.Value) string {
	if v.IsNull() {
		return ""
	}
	return string(v.ByteArray())
}
