package erase

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

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
	entry  int64 // the sequence
}

// row is what is read of a row to tell whose it is; what it has not is empty.
type row struct{ root, subject, examples string }

// objects returns all objects of all logs, in the order of their entries.
func (e *eraser) objects(ctx context.Context) ([]*object, error) {
	var all []*object
	for _, b := range e.Buckets {
		names, err := landing.Logs(ctx, b)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			log := landing.Open(b, n.Topic, n.TopicID)
			at := int64(0)
			take := func(entry landing.Entry) error {
				at = entry.Sequence
				for _, o := range entry.Objects {
					all = append(all, &object{o, b, log, entry.Sequence})
				}
				return nil
			}
			for more := true; more; {
				err := log.After(ctx, at, take)
				if more = err != nil; more {
					if more, err = e.past(ctx, b, log, at, err, take); err != nil {
						return nil, err
					}
				}
			}
		}
	}
	return all, nil
}

// past gives take the first entry behind the sequence that can be read, where those between are given up; more is false where there is none. Its error names the entry, or is the cause where that was not the log's fault.
func (e *eraser) past(ctx context.Context, b *objectstore.Bucket, log *landing.Log, at int64, cause error, take func(landing.Entry) error) (more bool, err error) {
	joined, began := true, at > 0 // a log whose oldest entries were removed begins where it begins
	for n := at + 1; ; n++ {
		if ctx.Err() != nil {
			return false, cause
		}
		key := landing.Key(log.Topic(), log.TopicID(), n)
		entry, err := log.Read(ctx, n)
		switch {
		case err == nil && !joined:
			return true, take(entry)
		case err == nil:
			if n > at+1 && at == 0 { // the oldest that is there
				return false, cause
			}
			if n > 1 {
				before, readErr := log.Read(ctx, n-1)
				if readErr != nil {
					return false, cause
				}
				err = entry.Join(before)
			} else {
				err = entry.Join(landing.Entry{})
			}
			if err == nil {
				return false, cause // an outage that is over: whoever asks again gets an answer
			}
			if err := e.giveUp(log, n, err); err != nil {
				return false, err
			}
			return true, take(entry)
		case errors.Is(err, objectstore.ErrNotFound):
			page, listErr := b.List(ctx, path.Dir(key)+"/", key, 1)
			if listErr != nil {
				return false, listErr
			}
			if len(page) == 0 {
				return false, nil
			}
			if began {
				if err := e.giveUp(log, n, fmt.Errorf("it is missing, and there is %s", page[0].Key)); err != nil {
					return false, err
				}
				joined = false
			}
			began = true
			behind, found := strings.CutSuffix(path.Base(page[0].Key), ".json")
			next, parseErr := strconv.ParseInt(behind, 10, 64)
			if !found || parseErr != nil {
				return false, fmt.Errorf("%s is no entry's key", page[0].Key)
			}
			n = next - 1
			continue
		default:
			if _, getErr := b.Get(ctx, key); getErr != nil {
				return false, cause
			}
			if err := e.giveUp(log, n, err); err != nil {
				return false, err
			}
			joined, began = false, true
		}
	}
}

// accepted says whether the entry is given up.
func (e *eraser) accepted(log *landing.Log, sequence int64) (name string, given bool) {
	name = fmt.Sprintf("%s@%d", log.TopicID(), sequence)
	return name, slices.Contains(e.Accept, name)
}

// giveUp notes that something of the entry cannot be looked at; the error is what stops the erasure where nobody gave the entry up.
func (e *eraser) giveUp(log *landing.Log, sequence int64, why error) error {
	name, given := e.accepted(log, sequence)
	if !given {
		return fmt.Errorf("entry %d of the landing log of %s: %w; put it back from a copy of the bucket, or let INGEST_ACCEPT name %s to erase all but what it has", sequence, log.Topic(), why, name)
	}
	if note := name + ": " + why.Error(); !slices.Contains(e.report.GivenUp, note) {
		e.report.GivenUp = append(e.report.GivenUp, note)
	}
	return nil
}

// scan calls f with each row of the object. seen is false where it is not there, or cannot be read and its entry is given up; the report says which.
func (e *eraser) scan(ctx context.Context, o *object, f func(row)) (seen bool, err error) {
	var damaged *damage
	switch err := o.scan(ctx, f); {
	case err == nil:
		return true, nil
	case errors.Is(err, objectstore.ErrNotFound):
		if name := o.bucket.Name() + "/" + o.Key; !slices.Contains(e.report.Unlisted, name) {
			e.report.Unlisted = append(e.report.Unlisted, name)
		}
		return false, nil
	case errors.As(err, &damaged):
		return false, e.giveUp(o.log, o.entry, err)
	default:
		return false, err
	}
}

// damage is why bytes that were read whole are no Parquet.
type damage struct{ err error }

func (d *damage) Error() string { return "read as Parquet: " + d.err.Error() }
func (d *damage) Unwrap() error { return d.err }

// small is up to how many bytes an object is fetched whole to look at some of its columns.
const small = 4 << 20

// ranged reads an object by ranges.
type ranged struct {
	ctx    context.Context
	bucket *objectstore.Bucket
	key    string
	failed error // the store's, which is no damage of the object
}

// ReadAt implements io.ReaderAt.
func (r *ranged) ReadAt(p []byte, at int64) (int, error) {
	b, _, err := r.bucket.GetRange(r.ctx, r.key, at, int64(len(p)))
	if err != nil && !errors.Is(err, io.EOF) && r.failed == nil {
		r.failed = err
	}
	return copy(p, b), err
}

// attributes are the columns of personal that landing objects have.
var attributes = []string{"root_id", "subject"}

// scan calls f with each row of the object, of which it reads no more columns than it needs.
func (o *object) scan(ctx context.Context, f func(row)) error {
	body, size := io.ReaderAt(nil), int64(0)
	remote := new(ranged)
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
		remote = &ranged{ctx: ctx, bucket: o.bucket, key: o.Key}
		body, size = remote, info.Size
	}
	if err := scan(body, size, attributes, f); remote.failed != nil {
		return fmt.Errorf("object %s: %w", o.Key, remote.failed)
	} else if err != nil {
		return fmt.Errorf("object %s: %w", o.Key, &damage{err})
	}
	return nil
}

// scan calls f with each row of a Parquet file, of which it reads the named columns of personal and no others: they may not be there.
func scan(body io.ReaderAt, size int64, names []string, f func(row)) (err error) {
	defer func() { // the reader's way to say that a page is damaged
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	file, err := parquet.OpenFile(body, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true), parquet.ReadBufferSize(1<<20))
	if err != nil {
		return err
	}
	for _, g := range file.RowGroups() {
		if err := scanGroup(file.Schema(), g, names, f); err != nil {
			return err
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
	defer func() {
		for _, where := range order {
			e.report.Landing = append(e.report.Landing, *found[where])
		}
	}()
	for _, o := range objects {
		if o.Kind != kind {
			continue
		}
		rows := int64(0)
		seen, err := e.scan(ctx, o, func(r row) {
			if e.theirs(r.root, r.subject) {
				rows++
			}
		})
		if err != nil {
			return err
		}
		if !seen || rows == 0 {
			continue
		}
		if e.Apply {
			if err := e.rewrite(ctx, o); err != nil {
				return err
			}
			e.Logger.Info("landing object rewritten", "erasure", e.ID, "object", o.bucket.Name()+"/"+o.Key, "rows", rows)
		}
		where := o.bucket.Name() + "/" + landing.Prefix(kind)
		if found[where] == nil {
			found[where] = &Found{Where: where}
			order = append(order, where)
		}
		found[where].Objects++
		found[where].Rows += rows
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
		if _, given := e.accepted(o.log, o.entry); !ok && !given {
			return fmt.Errorf("object %s has neither the bytes that its log names nor those of an erasure: mend it first (SHA-256 %s)", o.Key, was)
		}
		gone = version.Gone
	}
	after, left, removed, err := e.without(before)
	if err != nil {
		return fmt.Errorf("object %s: %w", o.Key, err)
	}
	version := landing.Erased{Key: o.Key, Was: was, SHA256: hash(after), Bytes: int64(len(after)), Rows: left, Gone: ranges(append(gone, removed...))}
	if err := e.Warehouse.Held(ctx); err != nil { // another erasure may be at the same object
		return fmt.Errorf("object %s: %w", o.Key, err)
	}
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
