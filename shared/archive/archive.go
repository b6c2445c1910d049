// Package archive reads the landing area's raw and dead objects back into events. load-lake writes them; replay reads them where Kafka has forgotten.
//
// It guarantees that an event comes back as its record held it: the payload's bytes, and every attribute with its value. Headers that are no attributes, and a
// Kafka key that is not the event's partition key, stay in the object.
//
// It does not find objects (package landing does) or read enriched ones, whose payloads are columns of their contract.
package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/parquet-go/parquet-go"

	"millrace/shared/event"
	"millrace/shared/rawjson"
)

// Row is one row: a record of the topic.
type Row struct {
	// Event is nil where the record is no CloudEvent; Err says why.
	Event     *event.Event
	Err       error
	Partition int32
	Offset    int64
	Time      time.Time // Kafka's, of the record
}

// ErrNoEvent is wrapped by the error of a row whose record is no CloudEvent.
var ErrNoEvent = errors.New("not a CloudEvent")

// row has the columns of package table in load-lake; all are optional.
type row struct {
	Type        *string `parquet:"event_type,optional"`
	Version     *string `parquet:"schema_version,optional"`
	Assumed     *string `parquet:"version_assumed,optional"`
	Root        *string `parquet:"root_id,optional"`
	ID          *string `parquet:"id,optional"`
	Source      *string `parquet:"source,optional"`
	Subject     *string `parquet:"subject,optional"`
	Time        *int64  `parquet:"time,optional"`
	CollectorID *string `parquet:"collector_id,optional"`
	Collected   *int64  `parquet:"collector_tstamp,optional"`
	Hash        *string `parquet:"data_hash,optional"`
	Schema      *string `parquet:"data_schema,optional"`
	ContentType *string `parquet:"content_type,optional"`
	Key         *string `parquet:"partition_key,optional"`
	Stage       *string `parquet:"stage,optional"`
	FailStage   *string `parquet:"failure_stage,optional"`
	FailCode    *string `parquet:"failure_code,optional"`
	FailMessage *string `parquet:"failure_message,optional"`
	FailTime    *int64  `parquet:"failure_time,optional"`
	FailSource  *string `parquet:"failure_origin_source,optional"`
	FailID      *string `parquet:"failure_origin_id,optional"`
	FailVersion *string `parquet:"failure_assumed_version,optional"`
	ReplayID    *string `parquet:"replay_id,optional"`
	ReplayCount *int64  `parquet:"replay_count,optional"`
	Extensions  *string `parquet:"extensions,optional"`
	Partition   *int32  `parquet:"kafka_partition,optional"`
	Offset      *int64  `parquet:"kafka_offset,optional"`
	Stamp       *int64  `parquet:"kafka_timestamp,optional"`
	Payload     []byte  `parquet:"payload,optional"`
}

// Read calls f with each row of an object, in order, with its index from 0, until f fails. The error is f's, or says that the object is none of load-lake's.
// Memory: the object, and some hundred rows beside it.
func Read(object []byte, f func(index int64, r Row) error) (err error) {
	file, err := parquet.OpenFile(bytes.NewReader(object), int64(len(object)))
	if err != nil {
		return fmt.Errorf("open the object: %w", err)
	}
	if _, ok := file.Schema().Lookup("kafka_offset"); !ok {
		return errors.New("open the object: it has no column kafka_offset: no object of load-lake's")
	}
	reader := parquet.NewGenericReader[row](file)
	defer func() { err = errors.Join(err, reader.Close()) }()
	rows := make([]row, 128)
	for index := int64(0); ; {
		clear(rows)
		n, err := reader.Read(rows)
		for i := range n {
			if err := f(index, rows[i].decode()); err != nil {
				return err
			}
			index++
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read row %d: %w", index, err)
		}
	}
}

func (r *row) decode() Row {
	var out Row
	if r.Partition != nil {
		out.Partition = *r.Partition
	}
	if r.Offset != nil {
		out.Offset = *r.Offset
	}
	if r.Stamp != nil {
		out.Time = time.UnixMicro(*r.Stamp).UTC()
	}
	e, err := r.event()
	if err == nil {
		err = event.Derive(e, out.Time)
	}
	if err == nil {
		err = e.Validate()
	}
	if err != nil {
		out.Err = fmt.Errorf("%w: %w", ErrNoEvent, err)
		return out
	}
	out.Event = e
	return out
}

func (r *row) event() (*event.Event, error) {
	if r.ID == nil || r.Source == nil || r.Type == nil {
		return nil, errors.New("no id, source or type")
	}
	source := types.ParseURIRef(*r.Source)
	if source == nil {
		return nil, errors.New("source is no URI-reference")
	}
	v1 := &ce.EventContextV1{ID: *r.ID, Source: *source, Type: *r.Type, Subject: r.Subject, DataContentType: r.ContentType, Extensions: map[string]any{}}
	if r.Schema != nil {
		if v1.DataSchema = types.ParseURI(*r.Schema); v1.DataSchema == nil {
			return nil, errors.New("dataschema is no URI")
		}
	}
	set := func(name string, value *string) {
		if value != nil {
			v1.Extensions[name] = *value
		}
	}
	instant := func(name string, micro *int64) {
		if micro != nil {
			v1.Extensions[name] = event.FormatTime(time.UnixMicro(*micro))
		}
	}
	if r.Time != nil {
		v1.Time = &types.Timestamp{Time: time.UnixMicro(*r.Time).UTC()}
	}
	set(event.SchemaVersion, r.Version)
	set(event.VersionAssumed, r.Assumed)
	set(event.RootID, r.Root)
	set(event.CollectorID, r.CollectorID)
	instant(event.CollectorTime, r.Collected)
	set(event.DataHash, r.Hash)
	if r.Key != nil && (r.Root == nil || *r.Key != *r.Root) {
		set(event.PartitionKey, r.Key) // the root id is Kafka's key where there is no other
	}
	set(event.Stage, r.Stage)
	set(event.FailureStage, r.FailStage)
	set(event.FailureCode, r.FailCode)
	set(event.FailureMessage, r.FailMessage)
	instant(event.FailureTime, r.FailTime)
	set(event.FailureSource, r.FailSource)
	set(event.FailureID, r.FailID)
	set(event.FailureVersion, r.FailVersion)
	set(event.ReplayID, r.ReplayID)
	if r.ReplayCount != nil {
		v1.Extensions[event.ReplayCount] = fmt.Sprint(*r.ReplayCount)
	}
	if r.Extensions != nil {
		// What has a column and stands here all the same is the exact text, which the column's type does not hold.
		err := rawjson.Members([]byte(*r.Extensions), func(name string, value []byte) error {
			text, ok := rawjson.Unquote(value)
			if !ok {
				return fmt.Errorf("extension %q is no string", event.Cut(name, 40))
			}
			if name == "time" {
				t, err := event.ParseTime(text)
				if err != nil {
					return fmt.Errorf("time: %w", err)
				}
				v1.Time = &types.Timestamp{Time: t}
				return nil
			}
			v1.Extensions[name] = text
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return &event.Event{Context: v1, DataEncoded: bytes.Clone(r.Payload)}, nil
}

// place has the columns that say where in Kafka a row was. Every object of load-lake's has them, enriched ones too.
type place struct {
	Partition *int32 `parquet:"kafka_partition,optional"`
	Offset    *int64 `parquet:"kafka_offset,optional"`
}

// Locate returns the index, from 0, of the row in an object of any kind that holds a topic's record, and whether there is one. It reads two columns.
func Locate(object []byte, partition int32, offset int64) (index int64, found bool, err error) {
	file, err := parquet.OpenFile(bytes.NewReader(object), int64(len(object)))
	if err != nil {
		return 0, false, fmt.Errorf("open the object: %w", err)
	}
	reader := parquet.NewGenericReader[place](file)
	defer func() { err = errors.Join(err, reader.Close()) }()
	rows := make([]place, 1024)
	for {
		clear(rows)
		n, err := reader.Read(rows)
		for _, r := range rows[:n] {
			if r.Partition != nil && r.Offset != nil && *r.Partition == partition && *r.Offset == offset {
				return index, true, nil
			}
			index++
		}
		if errors.Is(err, io.EOF) {
			return 0, false, nil
		}
		if err != nil {
			return 0, false, fmt.Errorf("read row %d: %w", index, err)
		}
	}
}
