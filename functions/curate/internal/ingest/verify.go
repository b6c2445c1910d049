package ingest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/landing"
)

// place is what an object's key says, held against the entry that names it.
type place struct {
	landing.Place
	date string // YYYY-MM-DD; "" where the day of Kafka's record time is beyond the years 1 to 9999, which no SQL engine writes as a date
}

// placeOf reads the key of an object that an entry names. Its errors say how key and entry contradict each other.
func placeOf(o landing.Object) (place, error) {
	key, date := o.Key, ""
	p, ok := landing.ParsePlace(key)
	if ok {
		date = p.Day
	} else if before, rest, found := strings.Cut(key, "date="); found {
		// A producer can set any record time. The key of such a day is one all the same.
		day, after, _ := strings.Cut(rest, "/")
		if p, ok = landing.ParsePlace(before + "date=2000-01-01/" + after); ok && !outlandish(day) {
			ok = false
		}
		p.Day = day
	}
	if !ok {
		return place{}, fmt.Errorf("the key %q is none that a drain makes", key)
	}
	if date < "0001-01-02" {
		date = ""
	}
	eventType := p.Type
	if eventType == noName {
		eventType = ""
	}
	if p.Kind != o.Kind || eventType != o.Type {
		return place{}, fmt.Errorf("the entry says kind %q and type %q, the key %s says %q and %q", o.Kind, o.Type, key, p.Kind, eventType)
	}
	return place{p, date}, nil
}

// noName stands for the type or the MODEL of records that have none.
const noName = "_"

// outlandish reports whether the text is how Go writes a day whose year has not four digits.
func outlandish(day string) bool {
	parts := strings.Split(strings.TrimPrefix(day, "-"), "-")
	if len(parts) != 3 || len(parts[1]) != 2 || len(parts[2]) != 2 || len(parts[0]) < 4 {
		return false
	}
	return strings.Trim(strings.Join(parts, ""), "0123456789") == "" && (day[0] == '-' || len(parts[0]) > 4)
}

// contents is what an object was found to hold.
type contents struct {
	columns []warehouse.Column
}

// verdict is why an object is not what its entry says.
type verdict struct {
	code Code
	err  error
}

func (v *verdict) Error() string { return v.err.Error() }
func (v *verdict) Unwrap() error { return v.err }

func corrupt(format string, args ...any) error {
	return &verdict{CodeObjectCorrupt, fmt.Errorf(format, args...)}
}

func differs(format string, args ...any) error {
	return &verdict{CodeObjectDiffers, fmt.Errorf(format, args...)}
}

// checker holds the objects of one entry against it. It is not safe for concurrent use.
type checker struct {
	spans map[int32]*span
}

// span is what an entry says of a partition, and which of its offsets have been found.
type span struct {
	from, next int64
	absent     []landing.Range // skipped and lost, in order
	free       [2]int64        // an interval [a, b) of offsets that must have rows: the one that the last row lay in
	seen       map[int64]*[chunk / 64]uint64
	at         int64 // of the chunk looked at last
	last       *[chunk / 64]uint64
}

// chunk is how many offsets one piece of the bitmap covers: rows lie near each other, ranges can be as wide as they like.
const chunk = 1 << 16

func newChecker(e landing.Entry) *checker {
	c := &checker{spans: map[int32]*span{}}
	for _, p := range e.Partitions {
		absent := slices.Concat(p.Skipped, p.Lost)
		slices.SortFunc(absent, func(a, b landing.Range) int { return int(min(max(a.First-b.First, -1), 1)) })
		c.spans[p.Partition] = &span{from: p.From, next: p.Next, absent: absent, seen: map[int64]*[chunk / 64]uint64{}}
	}
	return c
}

// take notes a row, and returns why it cannot be the entry's.
func (c *checker) take(partition int32, offset int64) error {
	s := c.spans[partition]
	if s == nil {
		return differs("a row is of partition %d, which the entry does not have", partition)
	}
	if offset < s.free[0] || offset >= s.free[1] {
		if offset < s.from || offset >= s.next {
			return differs("a row has offset %d of partition %d, the entry reads [%d, %d)", offset, partition, s.from, s.next)
		}
		i, within := slices.BinarySearchFunc(s.absent, offset, func(r landing.Range, o int64) int {
			switch {
			case r.Last < o:
				return -1
			case r.First > o:
				return 1
			}
			return 0
		})
		if within {
			return differs("a row has offset %d of partition %d, which the entry says has none: %s", offset, partition, s.absent[i].Reason)
		}
		s.free = [2]int64{s.from, s.next}
		if i > 0 {
			s.free[0] = s.absent[i-1].Last + 1
		}
		if i < len(s.absent) {
			s.free[1] = s.absent[i].First
		}
	}
	if at := offset / chunk; s.last == nil || at != s.at {
		if s.at, s.last = at, s.seen[at]; s.last == nil {
			s.last = new([chunk / 64]uint64)
			s.seen[at] = s.last
		}
	}
	word, bit := &s.last[offset%chunk/64], uint64(1)<<(offset%64)
	if *word&bit != 0 {
		return differs("offset %d of partition %d has two rows", offset, partition)
	}
	*word |= bit
	return nil
}

// sum checks the object's size and checksum.
func sum(o landing.Object, body io.Reader) error {
	h := sha256.New()
	n, err := io.Copy(h, body)
	if err != nil {
		return fmt.Errorf("reading it back: %w", err)
	}
	if n != o.Bytes {
		return corrupt("it has %d bytes, the entry says %d", n, o.Bytes)
	}
	if s := hex.EncodeToString(h.Sum(nil)); s != o.SHA256 {
		return corrupt("its SHA-256 is %s, the entry says %s", s, o.SHA256)
	}
	return nil
}

// parquet checks that the body, which has the sum that the entry says, is Parquet with the entry's number of rows, that each row is of an offset that the entry says has one, that no offset has two in
// the objects looked at so far, and that the rows are of the key's day.
func (c *checker) parquet(o landing.Object, p place, body io.ReaderAt) (found contents, err error) {
	defer func() { // the reader's way to say that a page is damaged; the checksum was right, so the writer made it so
		if r := recover(); r != nil {
			err = corrupt("reading it as Parquet: %v", r)
		}
	}()
	f, err := parquet.OpenFile(body, o.Bytes, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return contents{}, corrupt("reading it as Parquet: %w", err)
	}
	if f.NumRows() != o.Rows {
		return contents{}, differs("it has %d rows, the entry says %d", f.NumRows(), o.Rows)
	}
	if found.columns, err = stored(f.Schema()); err != nil {
		return contents{}, corrupt("its columns: %w", err)
	}
	partitions, ok := f.Schema().Lookup("kafka_partition")
	offsets, also := f.Schema().Lookup("kafka_offset")
	if !ok || !also || partitions.Node.Type().Kind() != parquet.Int32 || offsets.Node.Type().Kind() != parquet.Int64 {
		return contents{}, corrupt("it lacks the columns kafka_partition and kafka_offset")
	}
	stamps, stamped := f.Schema().Lookup("kafka_timestamp")
	for _, g := range f.RowGroups() {
		chunks := g.ColumnChunks()
		if err := c.rows(chunks[partitions.ColumnIndex], chunks[offsets.ColumnIndex]); err != nil {
			return contents{}, err
		}
		if stamped && p.date != "" {
			if err := ofDay(chunks[stamps.ColumnIndex], p.date); err != nil {
				return contents{}, err
			}
		}
	}
	return found, nil
}

// ofDay checks by the chunk's statistics, where it has any, that Kafka's record times are of the day.
func ofDay(c parquet.ColumnChunk, date string) error {
	bounded, ok := c.(interface {
		Bounds() (lowest, highest parquet.Value, ok bool)
	})
	if !ok {
		return nil
	}
	lowest, highest, ok := bounded.Bounds()
	if !ok {
		return nil
	}
	for _, v := range []parquet.Value{lowest, highest} {
		if day := time.UnixMicro(v.Int64()).UTC().Format(time.DateOnly); day != date {
			return differs("a row has Kafka's record time of %s, the key says %s", day, date)
		}
	}
	return nil
}

// rows takes each row of a row group.
func (c *checker) rows(partitions, offsets parquet.ColumnChunk) error {
	a, b := &values{pages: partitions.Pages()}, &values{pages: offsets.Pages()}
	err := func() error {
		for {
			x, more, err := a.next()
			if err != nil {
				return corrupt("reading kafka_partition: %w", err)
			}
			y, also, err := b.next()
			if err != nil {
				return corrupt("reading kafka_offset: %w", err)
			}
			if more != also {
				return corrupt("the columns kafka_partition and kafka_offset have different lengths")
			}
			if !more {
				return nil
			}
			if x.IsNull() || y.IsNull() {
				return differs("a row has no kafka_partition or kafka_offset")
			}
			if err := c.take(x.Int32(), y.Int64()); err != nil {
				return err
			}
		}
	}()
	return errors.Join(err, a.pages.Close(), b.pages.Close())
}

// values reads the values of a column chunk one by one.
type values struct {
	pages parquet.Pages
	page  parquet.ValueReader
	buf   [512]parquet.Value
	i, n  int
}

func (v *values) next() (parquet.Value, bool, error) {
	for v.i == v.n {
		if v.page == nil {
			p, err := v.pages.ReadPage()
			if errors.Is(err, io.EOF) {
				return parquet.Value{}, false, nil
			}
			if err != nil {
				return parquet.Value{}, false, err
			}
			v.page = p.Values()
		}
		n, err := v.page.ReadValues(v.buf[:])
		v.i, v.n = 0, n
		if errors.Is(err, io.EOF) {
			v.page = nil
		} else if err != nil {
			return parquet.Value{}, false, err
		}
	}
	v.i++
	return v.buf[v.i-1], true, nil
}
