package table

import (
	"bytes"
	"fmt"

	"github.com/IBM/sarama"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"millrace/shared/contract"
	"millrace/shared/mask"
)

const (
	flushRows     = 512      // rows whose values are handed to the column writers at a time
	rowGroupBytes = 64 << 20 // of records, after which a row group is closed
)

// Layout is a table's columns and the machinery to write them. It is not safe for concurrent use.
type Layout struct {
	schema *parquet.Schema
	writer *parquet.GenericWriter[any]
	leaves []*leaf // by column index
	row    row

	attrs                         []*leaf // by attributes' index; nil: no column
	extensions, headers           *leaf
	partition, offset, stamp, key *leaf
	payloadBytes                  *leaf // raw and dead
	payload, enrichment           *node // enriched; nil where no contract is known
	rescued                       *leaf // enriched
	rescue                        rescue
	privacy                       privacy // enriched
}

// leaf collects the values of one column.
type leaf struct {
	index  int
	def    int // the definition level of a value that is there
	values []parquet.Value
}

func (l *leaf) null(rep, def int) {
	l.values = append(l.values, parquet.Value{}.Level(rep, def, l.index))
}

func (l *leaf) add(v parquet.Value, rep int) {
	l.values = append(l.values, v.Level(rep, l.def, l.index))
}

// bytes adds the bytes at the top level; nil is null. They must not change until the values are flushed.
func (l *leaf) bytes(b []byte) {
	if b == nil {
		l.null(0, 0)
		return
	}
	l.add(parquet.ByteArrayValue(b), 0)
}

var codec = &zstd.Codec{Level: zstd.SpeedDefault}

func optional(n parquet.Node) parquet.Node { return parquet.Optional(n) }

// dictionary is for columns with few values, or often the same one in a row.
func dictionary(n parquet.Node) parquet.Node {
	return optional(parquet.Encoded(n, &parquet.RLEDictionary))
}

func timestamp(utc bool) parquet.Node { return parquet.TimestampAdjusted(parquet.Microsecond, utc) }

// common are the columns that all tables have.
func common(failure bool) parquet.Group {
	g := parquet.Group{
		"extensions":      optional(parquet.String()),
		"kafka_headers":   optional(parquet.String()),
		"kafka_key":       optional(parquet.Leaf(parquet.ByteArrayType)),
		"kafka_partition": dictionary(parquet.Int(32)),
		"kafka_offset":    optional(parquet.Encoded(parquet.Int(64), &parquet.DeltaBinaryPacked)),
		"kafka_timestamp": optional(parquet.Encoded(timestamp(true), &parquet.DeltaBinaryPacked)),
	}
	for i, a := range attributes {
		switch {
		case a.failure && !failure:
		case a.kind == instant:
			g[a.column] = optional(parquet.Encoded(timestamp(true), &parquet.DeltaBinaryPacked))
		case a.kind == number:
			g[a.column] = optional(parquet.Int(64))
		case i == atID || i == atRoot || i == atHash || i == atKey:
			g[a.column] = optional(parquet.String())
		default:
			g[a.column] = dictionary(parquet.String())
		}
	}
	return g
}

// Raw returns the layout of raw and dead objects.
func Raw() *Layout {
	g := common(true)
	g["payload"] = optional(parquet.Leaf(parquet.ByteArrayType))
	l := newLayout("raw", g, true)
	l.payloadBytes = l.leaf("payload")
	return l
}

// Enriched returns the layout of the enriched objects of one event type and MODEL; the zero Model where no contract is known. The key is what personal data is masked with;
// it may be nil only where mask.Of(m) is.
func Enriched(m contract.Model, key *mask.Key) *Layout {
	payload, enrichment := m.Payload, m.Enrichment
	g := common(false)
	g["_rescued"] = optional(parquet.String())
	if len(payload) > 0 {
		g["payload"] = nodeOf(contract.Field{Type: contract.Object, Fields: payload})
	}
	if len(enrichment) > 0 {
		g["enrichment"] = nodeOf(contract.Field{Type: contract.Object, Fields: enrichment})
	}
	l := newLayout("enriched", g, false)
	l.privacy = privacyOf(m, key)
	l.rescued = l.leaf("_rescued")
	if len(payload) > 0 {
		l.payload = l.compile(contract.Field{Type: contract.Object, Fields: payload}, []string{"payload"}, 1, 0)
	}
	if len(enrichment) > 0 {
		l.enrichment = l.compile(contract.Field{Type: contract.Object, Fields: enrichment}, []string{"enrichment"}, 1, 0)
	}
	return l
}

func newLayout(name string, g parquet.Group, failure bool) *Layout {
	l := &Layout{schema: parquet.NewSchema(name, g)}
	l.writer = parquet.NewGenericWriter[any](nil, l.schema, parquet.Compression(codec), parquet.CreatedBy("millrace", "1", ""),
		parquet.SkipPageBounds("payload"))
	for i := range l.schema.Columns() {
		l.leaves = append(l.leaves, &leaf{index: i})
	}
	l.attrs = make([]*leaf, len(attributes))
	for i, a := range attributes {
		if failure || !a.failure {
			l.attrs[i] = l.leaf(a.column)
		}
	}
	l.extensions, l.headers, l.key = l.leaf("extensions"), l.leaf("kafka_headers"), l.leaf("kafka_key")
	l.partition, l.offset, l.stamp = l.leaf("kafka_partition"), l.leaf("kafka_offset"), l.leaf("kafka_timestamp")
	return l
}

// leaf returns the column with the path, which is there: it was put into the schema by the same rules.
func (l *Layout) leaf(path ...string) *leaf {
	c, ok := l.schema.Lookup(path...)
	if !ok {
		panic(fmt.Sprintf("table: the schema has no column %v", path))
	}
	f := l.leaves[c.ColumnIndex]
	f.def = c.MaxDefinitionLevel
	return f
}

// Encode returns the records as one Parquet file, a row each, in their order.
func (l *Layout) Encode(records []*sarama.ConsumerMessage) ([]byte, error) {
	var out bytes.Buffer
	l.writer.Reset(&out)
	pending, size := 0, 0
	for _, m := range records {
		l.row.read(m)
		l.add(&l.row)
		size += len(m.Value)
		if pending++; pending == flushRows {
			if err := l.flush(); err != nil {
				return nil, err
			}
			pending = 0
			if size >= rowGroupBytes {
				if err := l.writer.Flush(); err != nil {
					return nil, fmt.Errorf("parquet row group: %w", err)
				}
				size = 0
			}
		}
	}
	if err := l.flush(); err != nil {
		return nil, err
	}
	if err := l.writer.Close(); err != nil {
		return nil, fmt.Errorf("parquet file: %w", err)
	}
	return out.Bytes(), nil
}

func (l *Layout) flush() error {
	for i, c := range l.writer.ColumnWriters() {
		f := l.leaves[i]
		if len(f.values) == 0 {
			continue
		}
		if _, err := c.WriteRowValues(f.values); err != nil {
			return fmt.Errorf("parquet column %d: %w", i, err)
		}
		clear(f.values) // lets go of the records' bytes
		f.values = f.values[:0]
	}
	return nil
}

// add adds one value, or null, to each column.
func (l *Layout) add(r *row) {
	var data shown
	if l.payloadBytes == nil {
		data = l.privacy.show(r)
	}
	for i, a := range attributes {
		f, b := l.attrs[i], r.attr[i]
		if f == nil {
			if b != nil {
				r.extend(a.name, b)
			}
			continue
		}
		if a.kind == text || b == nil {
			f.bytes(b)
			continue
		}
		n, ok, exact := typed(a, b)
		if ok {
			f.add(parquet.Int64Value(n), 0)
		} else {
			f.null(0, 0)
		}
		if !exact {
			r.extend(a.name, b)
		}
	}
	l.extensions.bytes(wrap('{', r.extensions, '}'))
	l.headers.bytes(wrap('[', r.headers, ']'))
	l.key.bytes(r.key)
	l.partition.add(parquet.Int32Value(r.record.Partition), 0)
	l.offset.add(parquet.Int64Value(r.record.Offset), 0)
	if r.record.Timestamp.IsZero() {
		l.stamp.null(0, 0)
	} else {
		l.stamp.add(parquet.Int64Value(r.record.Timestamp.UnixMicro()), 0)
	}
	if l.payloadBytes != nil {
		l.payloadBytes.bytes(r.payload)
		return
	}
	l.addData(data)
}

// wrap copies b between the brackets; nil where it is empty.
func wrap(open byte, b []byte, end byte) []byte {
	if len(b) == 0 {
		return nil
	}
	out := make([]byte, 0, len(b)+2)
	return append(append(append(out, open), b...), end)
}
