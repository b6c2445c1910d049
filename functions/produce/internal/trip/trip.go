// Package trip reads yellow taxi trips from the Parquet files of New York's Taxi and Limousine Commission (TLC), in each of the
// spellings and types that such files really have, and gives each trip the one canonical payload of event type
// YellowTaxiTripRecords 0-0-1.
//
// Columns are matched without regard to letter case. A null is a null; a column that the file does not have is left out of
// the payload, never made up; a column that the payload does not know is left out and named by Unknown. Memory is bounded by one
// page per column, whatever the file's size: the row groups are read page by page.
//
// TLC's times are New York's wall clock without a zone. The payload keeps them so ("2023-01-01T00:32:10"); only the
// event's time is an instant: the pickup, read as New York time (in the hour that autumn repeats, the first one).
package trip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // an image without zone files must still know New York

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"millrace/functions/produce/internal/record"
	"millrace/shared/rawjson"
)

// What the events say they are.
const (
	EventType     = "YellowTaxiTripRecords"
	SchemaVersion = "0-0-1"
)

// Fields are the payload's keys, in order, spelled as TLC's files of 2023.
var Fields = []string{
	"VendorID", "tpep_pickup_datetime", "tpep_dropoff_datetime", "passenger_count", "trip_distance", "RatecodeID",
	"store_and_fwd_flag", "PULocationID", "DOLocationID", "payment_type", "fare_amount", "extra", "mta_tax", "tip_amount",
	"tolls_amount", "improvement_surcharge", "total_amount", "congestion_surcharge", "airport_fee",
}

const pickup = "tpep_pickup_datetime"

// NewYork is the zone of TLC's wall clock.
var NewYork = func() *time.Location {
	l, err := time.LoadLocation("America/New_York")
	if err != nil {
		panic(err) // time/tzdata is linked in
	}
	return l
}()

// LocalLayout is how the payload writes a wall-clock time.
const LocalLayout = "2006-01-02T15:04:05.999999999"

// Reader reads the trips of one file.
type Reader struct {
	name    string
	id      record.Identity
	file    *parquet.File
	columns []*column // in the order of Fields, nil where the file has none
	unknown []string

	groups []parquet.RowGroup
	rows   parquet.Rows
	buf    []parquet.Row
	have   []parquet.Row
	row    int64
	values []parquet.Value
	body   []byte
}

// column is how one column of the file becomes a field.
type column struct {
	field  string
	leaf   int
	append func(b []byte, v parquet.Value) []byte
	// wall is the wall-clock time of a value, as if it were UTC; nil where the column is no time.
	wall func(v parquet.Value) (time.Time, bool)
}

// Open reads a Parquet file's footer and every page of it, so that a file which is broken anywhere is refused before its
// first event. name is for errors.
func Open(ctx context.Context, r io.ReaderAt, size int64, name string, id record.Identity) (*Reader, error) {
	t := &Reader{name: name, id: id, buf: make([]parquet.Row, 64)}
	err := guard(func() error { return t.open(ctx, r, size) })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

// guard turns a panic of the Parquet library, which some broken files cause, into an error.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the Parquet file is damaged: %v", p)
		}
	}()
	return f()
}

func (t *Reader) open(ctx context.Context, r io.ReaderAt, size int64) error {
	if err := checkFrame(r, size); err != nil {
		return err
	}
	// Bloom filters and page indexes are not needed to read everything, and are one more thing that may be broken.
	file, err := parquet.OpenFile(r, size, parquet.SkipBloomFilters(true), parquet.SkipPageIndex(true))
	if err != nil {
		return fmt.Errorf("the Parquet file is damaged: %w", err)
	}
	t.file, t.groups = file, file.RowGroups()
	if err := t.bind(); err != nil {
		return err
	}
	if err := t.checkLayout(size); err != nil {
		return err
	}
	return t.checkPages(ctx)
}

// checkFrame looks at both ends of the file, where a cut-off copy shows.
func checkFrame(r io.ReaderAt, size int64) error {
	if size < 12 {
		return fmt.Errorf("is no Parquet file: it has only %d bytes", size)
	}
	var tail [8]byte
	if _, err := r.ReadAt(tail[:], size-8); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the end of the file: %w", err)
	}
	if string(tail[4:]) != "PAR1" {
		return fmt.Errorf("is a truncated Parquet file: it begins with PAR1 but does not end with it, so its end with the footer is missing (%d bytes are there)", size)
	}
	n := int64(tail[0]) | int64(tail[1])<<8 | int64(tail[2])<<16 | int64(tail[3])<<24
	if n > size-12 {
		return fmt.Errorf("the Parquet file is damaged: its footer claims %d bytes, the file has %d", n, size)
	}
	return nil
}

// bind finds the file's columns for the payload's fields.
func (t *Reader) bind() error {
	known := make(map[string]int, len(Fields))
	for i, f := range Fields {
		known[strings.ToLower(f)] = i
	}
	t.columns = make([]*column, len(Fields))
	var found, foreign int
	var names []string
	for _, c := range t.file.Root().Columns() {
		names = append(names, c.Name())
		i, ok := known[strings.ToLower(c.Name())]
		if !ok {
			t.unknown = append(t.unknown, c.Name())
			switch strings.ToLower(c.Name()) {
			case "lpep_pickup_datetime", "hvfhs_license_num", "dispatching_base_num":
				foreign++
			}
			continue
		}
		if t.columns[i] != nil {
			return fmt.Errorf("two columns are both %s, letter case aside", Fields[i])
		}
		if !c.Leaf() || c.Repeated() {
			return fmt.Errorf("column %s is nested or repeated, which no taxi file's is", c.Name())
		}
		col, err := bindColumn(Fields[i], c)
		if err != nil {
			return err
		}
		t.columns[i] = col
		found++
	}
	if found == 0 || foreign > 0 {
		return fmt.Errorf("is no file of yellow taxi trips: its columns are %s", strings.Join(names, ", "))
	}
	return nil
}

// checkLayout compares the footer with itself and with the file's size.
func (t *Reader) checkLayout(size int64) error {
	meta := t.file.Metadata()
	var rows int64
	for g, rg := range meta.RowGroups {
		rows += rg.NumRows
		for _, c := range rg.Columns {
			start := c.MetaData.DataPageOffset
			if d := c.MetaData.DictionaryPageOffset; d > 0 && d < start {
				start = d
			}
			if start < 4 || c.MetaData.TotalCompressedSize < 0 || start+c.MetaData.TotalCompressedSize > size-8 {
				return fmt.Errorf("the Parquet file is damaged: column %s of row group %d lies outside the file", strings.Join(c.MetaData.PathInSchema, "."), g)
			}
		}
	}
	if rows != meta.NumRows {
		return fmt.Errorf("the Parquet file is damaged: its row groups have %d rows, its footer says %d", rows, meta.NumRows)
	}
	return nil
}

// checkPages decodes every page, also those of columns that the payload does not know: a row is read with all its columns.
func (t *Reader) checkPages(ctx context.Context) error {
	flat := make(map[int]bool, len(t.columns)) // the columns with exactly one value, or null, a row
	for _, c := range t.columns {
		if c != nil {
			flat[c.leaf] = true
		}
	}
	for g, rg := range t.groups {
		for i, chunk := range rg.ColumnChunks() {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := countValues(chunk)
			if err != nil {
				return fmt.Errorf("the Parquet file is damaged: row group %d: %w", g, err)
			}
			if flat[i] && n != rg.NumRows() {
				return fmt.Errorf("the Parquet file is damaged: column %d of row group %d has %d values for %d rows", i, g, n, rg.NumRows())
			}
		}
	}
	return nil
}

func countValues(chunk parquet.ColumnChunk) (n int64, err error) {
	pages := chunk.Pages()
	defer func() { err = errors.Join(err, pages.Close()) }()
	for {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n += page.NumValues()
		parquet.Release(page)
	}
}

// Rows returns how many trips the file has.
func (t *Reader) Rows() int64 { return t.file.NumRows() }

// Unknown returns the file's columns that the payload does not know; their values are left out.
func (t *Reader) Unknown() []string { return t.unknown }

// Missing returns the payload's fields that the file has no column for.
func (t *Reader) Missing() []string {
	var out []string
	for i, c := range t.columns {
		if c == nil {
			out = append(out, Fields[i])
		}
	}
	return out
}

// Skip passes over the next n rows without reading what row groups it can.
func (t *Reader) Skip(n int64) error {
	t.row += n
	for len(t.groups) > 0 && n >= t.groups[0].NumRows() {
		n -= t.groups[0].NumRows()
		t.groups = t.groups[1:]
	}
	if n == 0 || len(t.groups) == 0 {
		return nil
	}
	return guard(func() error {
		t.rows, t.groups = t.groups[0].Rows(), t.groups[1:]
		if err := t.rows.SeekToRow(n); err != nil {
			return fmt.Errorf("%s: skip to row %d: %w", t.name, t.row, err)
		}
		return nil
	})
}

// Next implements record.Reader.
func (t *Reader) Next(ctx context.Context) (record.Record, error) {
	if err := ctx.Err(); err != nil {
		return record.Record{}, err
	}
	if len(t.have) == 0 {
		if err := guard(t.fill); err != nil {
			if errors.Is(err, io.EOF) {
				return record.Record{}, io.EOF
			}
			return record.Record{}, fmt.Errorf("%s: after row %d: %w", t.name, t.row, err)
		}
	}
	row := t.have[0]
	t.have = t.have[1:]
	t.row++
	return t.record(row), nil
}

func (t *Reader) fill() error {
	for {
		if t.rows == nil {
			if len(t.groups) == 0 {
				return io.EOF
			}
			t.rows, t.groups = t.groups[0].Rows(), t.groups[1:]
		}
		n, err := t.rows.ReadRows(t.buf)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err != nil {
			// Values may point into the group's pages, so it is closed only once nothing of it is left to read.
			if n > 0 {
				t.have = t.buf[:n]
				return nil
			}
			if err := t.rows.Close(); err != nil {
				return err
			}
			t.rows = nil
			continue
		}
		if n > 0 {
			t.have = t.buf[:n]
			return nil
		}
	}
}

// Close ends reading. The file underneath is its opener's.
func (t *Reader) Close() error {
	if t.rows == nil {
		return nil
	}
	return t.rows.Close()
}

func (t *Reader) record(row parquet.Row) record.Record {
	if t.values == nil {
		t.values = make([]parquet.Value, len(t.file.Schema().Columns()))
	}
	clear(t.values)
	for _, v := range row {
		t.values[v.Column()] = v
	}
	b, at := t.body[:0], time.Time{}
	b = append(b, '{')
	for _, c := range t.columns {
		if c == nil {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, c.field...)
		b = append(b, `":`...)
		v := t.values[c.leaf]
		if v.IsNull() {
			b = append(b, "null"...)
			continue
		}
		b = c.append(b, v)
		if c.field == pickup && c.wall != nil {
			if w, ok := c.wall(v); ok {
				at = Instant(w)
			}
		}
	}
	b = append(b, '}')
	t.body = b
	id := t.id.ID(t.row)
	return record.Record{
		Row: t.row, ID: id,
		Body: record.AppendEvent(make([]byte, 0, len(t.body)+256), EventType, SchemaVersion, id, t.id.Source, at, t.body),
	}
}

// Instant reads a wall-clock time, whatever its zone says, as New York's and returns it in UTC.
func Instant(wall time.Time) time.Time {
	return time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), wall.Nanosecond(), NewYork).UTC()
}

func appendWall(b []byte, w time.Time) []byte {
	b = append(b, '"')
	b = w.AppendFormat(b, LocalLayout)
	return append(b, '"')
}

// bindColumn chooses how a column's values are written. Which of its types a field has differs from year to year, so that the value's own
// type decides, not the field.
func bindColumn(field string, c *parquet.Column) (*column, error) {
	col := &column{field: field, leaf: c.Index()}
	var logical format.LogicalTypeValue
	if l := c.Type().LogicalType(); l != nil {
		logical = l.Value
	}
	if d, ok := logical.(*format.DecimalType); ok && c.Type().Kind() != parquet.ByteArray && c.Type().Kind() != parquet.FixedLenByteArray {
		col.append = func(b []byte, v parquet.Value) []byte { return appendDecimal(b, integer(v), int(d.Scale)) }
		return col, nil
	}
	if ts, ok := logical.(*format.TimestampType); ok {
		unit := time.Nanosecond
		switch ts.Unit.Value.(type) {
		case *format.MilliSeconds:
			unit = time.Millisecond
		case *format.MicroSeconds:
			unit = time.Microsecond
		}
		col.wall = func(v parquet.Value) (time.Time, bool) {
			w := moment(v.Int64(), unit)
			if ts.IsAdjustedToUTC {
				w = w.In(NewYork)
			}
			return w, true
		}
		col.append = func(b []byte, v parquet.Value) []byte { w, _ := col.wall(v); return appendWall(b, w) }
		return col, nil
	}
	switch kind := c.Type().Kind(); {
	case kind == parquet.Boolean:
		col.append = func(b []byte, v parquet.Value) []byte { return strconv.AppendBool(b, v.Boolean()) }
	case kind == parquet.Int32 && plainInt(logical), kind == parquet.Int64 && plainInt(logical):
		unsigned := false
		if it, ok := logical.(*format.IntType); ok {
			unsigned = !it.IsSigned
		}
		col.append = func(b []byte, v parquet.Value) []byte {
			switch {
			case unsigned && v.Kind() == parquet.Int32:
				return strconv.AppendUint(b, uint64(v.Uint32()), 10)
			case unsigned:
				return strconv.AppendUint(b, v.Uint64(), 10)
			}
			return strconv.AppendInt(b, integer(v), 10)
		}
	case kind == parquet.Float:
		col.append = func(b []byte, v parquet.Value) []byte { return record.AppendFloat(b, float64(v.Float()), 32) }
	case kind == parquet.Double:
		col.append = func(b []byte, v parquet.Value) []byte { return record.AppendFloat(b, v.Double(), 64) }
	case kind == parquet.Int96: // a timestamp of Spark's and Impala's, without a zone: nanoseconds of the day, then the Julian day
		col.wall = func(v parquet.Value) (time.Time, bool) {
			i := v.Int96()
			return time.Unix((int64(i[2])-2440588)*86400, int64(uint64(i[1])<<32|uint64(i[0]))).UTC(), true
		}
		col.append = func(b []byte, v parquet.Value) []byte { w, _ := col.wall(v); return appendWall(b, w) }
	case kind == parquet.ByteArray && text(logical):
		if strings.HasSuffix(field, "_datetime") {
			col.wall = func(v parquet.Value) (time.Time, bool) { return parseWall(string(v.ByteArray())) }
		}
		col.append = func(b []byte, v parquet.Value) []byte {
			if col.wall != nil {
				if w, ok := col.wall(v); ok {
					return appendWall(b, w)
				}
			}
			return rawjson.AppendString(b, string(v.ByteArray()))
		}
	default:
		return nil, fmt.Errorf("column %s has the type %s, which no taxi file is known to use", c.Name(), c.Type())
	}
	return col, nil
}

func plainInt(l format.LogicalTypeValue) bool {
	switch l.(type) {
	case nil, *format.IntType:
		return true
	}
	return false
}

func text(l format.LogicalTypeValue) bool {
	switch l.(type) {
	case nil, *format.StringType, *format.EnumType:
		return true
	}
	return false
}

func integer(v parquet.Value) int64 {
	if v.Kind() == parquet.Int32 {
		return int64(v.Int32())
	}
	return v.Int64()
}

// moment is like time.Unix for a count of units; a plain product would overflow.
func moment(n int64, unit time.Duration) time.Time {
	per := int64(time.Second / unit)
	return time.Unix(n/per, n%per*int64(unit)).UTC()
}

func appendDecimal(b []byte, n int64, scale int) []byte {
	if scale <= 0 {
		return strconv.AppendInt(b, n, 10)
	}
	return append(b, new(big.Rat).SetFrac(big.NewInt(n), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)).FloatString(scale)...)
}

func parseWall(s string) (time.Time, bool) {
	for _, layout := range []string{"2006-01-02 15:04:05", "2006-01-02T15:04:05"} {
		if w, err := time.Parse(layout, s); err == nil {
			return w, true
		}
	}
	return time.Time{}, false
}
