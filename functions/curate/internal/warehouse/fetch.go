package warehouse

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
	"golang.org/x/sync/errgroup"
)

const (
	smallObject = 1 << 20   // bytes; up to there an object is fetched whole
	tailBytes   = 64 << 10  // what is read of an object's end at first, in the hope that the footer is in it
	mergeGap    = 128 << 10 // ranges that lie closer than this are read as one
)

// Local is a file on local disk.
type Local struct {
	Path    string // local
	File    File
	Columns []string // top-level columns whose bytes are there; nil: all. A file fetched in part is sparse: reading other columns fails.
	Deletes []string // local paths of File.Deletes
}

// local is an object's copy on local disk, whole or sparse.
type local struct {
	mu      sync.Mutex
	path    string // empty until the first fetch succeeded
	size    int64
	whole   bool
	columns map[string]bool
}

// remember makes the local file the copy of the object.
func (w *Warehouse) remember(object, path string, size int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files[object] = &local{path: path, size: size, whole: true}
}

// forget drops the copy's entry; the file stays.
func (w *Warehouse) forget(object string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.files, object)
}

// localWhole returns the path of the object's whole copy.
func (w *Warehouse) localWhole(object string) (string, bool) {
	w.mu.Lock()
	l, ok := w.files[object]
	w.mu.Unlock()
	if !ok {
		return "", false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.path, l.whole
}

// Fetch brings files to the scratch directory, where they stay until Close (what this process uploaded or fetched is there already); of each only the top-level columns named
// (nil: all), by ranges. Some at a time; a missing or changed object is an error that names it.
func (w *Warehouse) Fetch(ctx context.Context, files []File, columns []string) ([]Local, error) {
	out := make([]Local, len(files))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(transfers)
	for i, f := range files {
		out[i] = Local{File: f, Deletes: make([]string, len(f.Deletes))}
		group.Go(func() error {
			path, whole, err := w.fetch(ctx, f.Path, f.Bytes, columns)
			if err != nil {
				return fmt.Errorf("fetch %s: %w", f.Path, err)
			}
			out[i].Path = path
			if !whole {
				out[i].Columns = slices.Clone(columns)
			}
			return nil
		})
		for j, d := range f.deletes {
			group.Go(func() error {
				path, _, err := w.fetch(ctx, d.FilePath(), d.FileSizeBytes(), nil)
				if err != nil {
					return fmt.Errorf("fetch deletes of %s: %w", f.Path, err)
				}
				out[i].Deletes[j] = path
				return nil
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

// fetch returns the path of a copy of the object that has at least the columns (nil: all), and whether it is whole.
func (w *Warehouse) fetch(ctx context.Context, object string, size int64, columns []string) (string, bool, error) {
	key, err := w.Key(object)
	if err != nil {
		return "", false, err
	}
	w.mu.Lock()
	l, ok := w.files[object]
	if !ok {
		l = &local{columns: map[string]bool{}}
		w.files[object] = l
	}
	w.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.path != "" && (l.whole || columns != nil && !slices.ContainsFunc(columns, func(c string) bool { return !l.columns[c] })) {
		return l.path, l.whole, nil
	}
	path := l.path
	if path == "" {
		path = filepath.Join(w.scratch.dir, "object-"+uuid.NewString()+".parquet")
	}
	whole, err := w.fetchTo(ctx, key, size, path, columns)
	if err != nil {
		if l.path == "" {
			err = errors.Join(err, os.RemoveAll(path)) // a full disk is none the fuller
		}
		return "", false, err
	}
	l.path, l.size, l.whole = path, size, whole
	for _, c := range columns {
		l.columns[c] = true
	}
	return path, whole, nil
}

// fetchTo writes the object, or its columns, to the file, and reports whether all of it is there.
func (w *Warehouse) fetchTo(ctx context.Context, key string, size int64, path string, columns []string) (whole bool, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if columns != nil && size > smallObject {
		if whole, err = w.fetchColumns(ctx, key, size, f, columns); err != nil || !whole {
			return false, err
		}
	}
	info, err := w.config.Store.Download(ctx, key, f)
	if err == nil && info.Size != size {
		err = sizeError(info.Size, size)
	}
	return err == nil, err
}

func sizeError(got, want int64) error {
	return fmt.Errorf("the object has %d bytes, the table says %d", got, want)
}

// span is a range of bytes, to exclusive.
type span struct{ from, to int64 }

// fetchColumns writes the footer and the columns' chunks to f, where they belong. It writes nothing but the footer and returns true where most of the object is wanted, or where its footer leaves
// open how much a column takes.
func (w *Warehouse) fetchColumns(ctx context.Context, key string, size int64, f *os.File, columns []string) (whole bool, err error) {
	store := w.config.Store
	footer, from, err := readFooter(size, func(offset, length int64) ([]byte, error) {
		part, info, err := store.GetRange(ctx, key, offset, length)
		if err == nil && info.Size != size {
			err = sizeError(info.Size, size)
		}
		return part, err
	})
	if err != nil {
		return false, err
	}
	spans, ok, err := columnSpans(footer, from, size, columns)
	if err != nil {
		return false, err
	}
	var sum int64
	for _, s := range spans {
		sum += s.to - s.from
	}
	if !ok || sum > size/3*2 {
		return true, nil
	}
	if err := f.Truncate(size); err != nil {
		return false, err
	}
	if _, err := f.WriteAt([]byte("PAR1"), 0); err != nil {
		return false, err
	}
	if _, err := f.WriteAt(footer, from); err != nil {
		return false, err
	}
	for _, s := range spans {
		if s.from == s.to {
			continue
		}
		if _, err := store.DownloadRange(ctx, key, io.NewOffsetWriter(f, s.from), s.from, s.to-s.from); err != nil {
			return false, err
		}
	}
	return false, nil
}

// readFooter returns the object's end from some offset on, the whole footer in it.
func readFooter(size int64, read func(offset, length int64) ([]byte, error)) ([]byte, int64, error) {
	from := max(0, size-tailBytes)
	tail, err := read(from, size-from)
	if err != nil {
		return nil, 0, err
	}
	if len(tail) < 12 || string(tail[len(tail)-4:]) != "PAR1" {
		return nil, 0, errors.New("the object does not end as a Parquet file of the size that the table names")
	}
	need := int64(binary.LittleEndian.Uint32(tail[len(tail)-8:])) + 8
	if need > size-4 {
		return nil, 0, errors.New("the object's footer is longer than the object")
	}
	if need > int64(len(tail)) {
		head, err := read(size-need, need-int64(len(tail)))
		if err != nil {
			return nil, 0, err
		}
		tail, from = append(head, tail...), size-need
	}
	return tail, from, nil
}

// columnSpans returns the ranges to read for the columns, sorted and merged; ok is false where the footer does not say all of them.
func columnSpans(footer []byte, from, size int64, columns []string) (spans []span, ok bool, err error) {
	p, err := parquet.OpenFile(tailReader{footer, from}, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true), parquet.SkipMagicBytes(true))
	if err != nil {
		return nil, false, fmt.Errorf("read the footer: %w", err)
	}
	wanted := map[string]bool{}
	for _, c := range columns {
		wanted[c] = true
	}
	for _, g := range p.Metadata().RowGroups {
		for _, c := range g.Columns {
			m := c.MetaData
			if len(m.PathInSchema) == 0 || !wanted[m.PathInSchema[0]] {
				continue
			}
			all, known := chunkSpans(m)
			if !known {
				return nil, false, nil
			}
			for _, s := range all {
				if s.from < 0 || s.to > size || s.from > s.to {
					return nil, false, fmt.Errorf("the footer names bytes %d to %d of %d", s.from, s.to, size)
				}
			}
			spans = append(spans, all...)
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return int(a.from - b.from) })
	var merged []span
	for _, s := range spans {
		if n := len(merged); n > 0 && s.from <= merged[n-1].to+mergeGap {
			merged[n-1].to = max(merged[n-1].to, s.to)
			continue
		}
		merged = append(merged, s)
	}
	return merged, true, nil
}

// chunkSpans returns where the chunk's pages and its Bloom filter, which DuckDB reads too, lie. Without the filter's length its place is open.
func chunkSpans(m format.ColumnMetaData) ([]span, bool) {
	first := m.DataPageOffset
	if m.DictionaryPageOffset > 0 && m.DictionaryPageOffset < first {
		first = m.DictionaryPageOffset
	}
	spans := []span{{first, first + m.TotalCompressedSize}}
	if m.BloomFilterOffset > 0 {
		if m.BloomFilterLength <= 0 {
			return nil, false
		}
		spans = append(spans, span{m.BloomFilterOffset, m.BloomFilterOffset + int64(m.BloomFilterLength)})
	}
	return spans, true
}

// tailReader is a file of which only the end is there.
type tailReader struct {
	tail []byte
	from int64
}

// ReadAt is io.ReaderAt's.
func (t tailReader) ReadAt(p []byte, at int64) (int, error) {
	if at < t.from {
		return 0, fmt.Errorf("byte %d was not fetched", at)
	}
	if at-t.from >= int64(len(t.tail)) {
		return 0, io.EOF
	}
	n := copy(p, t.tail[at-t.from:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
