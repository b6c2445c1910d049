package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"millrace/functions/replay/internal/plan"
	"millrace/shared/archive"
	"millrace/shared/landing"
	"millrace/shared/objectstore"
)

// clocks is how far the clocks that date records, drains and objects may be apart.
const clocks = time.Hour

// Lake is a topic's objects in the landing area: those that the landing log names, whichever id the topic had.
type Lake struct {
	bucket *objectstore.Bucket
	topic  string
	kind   string // landing.KindRaw or landing.KindDead
}

// NewLake returns the topic's objects of the kind in the bucket.
func NewLake(bucket *objectstore.Bucket, topic, kind string) *Lake {
	return &Lake{bucket: bucket, topic: topic, kind: kind}
}

// objects returns the objects that can hold records of the time, and how many rows they have.
func (l *Lake) objects(ctx context.Context, from, to time.Time) (list []plan.Object, rows int64, err error) {
	ids, err := landing.TopicIDs(ctx, l.bucket, l.topic)
	if err != nil {
		return nil, 0, err
	}
	if len(ids) == 0 {
		return nil, 0, fmt.Errorf("bucket %s has no landing log of %s", l.bucket.Name(), l.topic)
	}
	for _, id := range ids {
		err := landing.Open(l.bucket, l.topic, id).After(ctx, 0, func(e landing.Entry) error {
			if !from.IsZero() && e.Time.Add(clocks).Before(from) {
				return nil // drained before the first record of that time was written
			}
			for _, o := range e.Objects {
				if o.Kind == l.kind && within(o.Key, from, to) {
					list, rows = append(list, plan.Object{Key: o.Key, SHA256: o.SHA256}), rows+o.Rows
				}
			}
			return nil
		})
		if err != nil {
			return nil, 0, err
		}
	}
	return list, rows, nil
}

// within reports whether an object's day, which is that of its records' times, can hold records of the time. An object without one can.
func within(key string, from, to time.Time) bool {
	_, rest, ok := strings.Cut(key, "/date=")
	if !ok || len(rest) < len(time.DateOnly) {
		return true
	}
	day, err := time.Parse(time.DateOnly, rest[:len(time.DateOnly)])
	if err != nil {
		return true
	}
	return (from.IsZero() || !day.AddDate(0, 0, 1).Before(from)) && (to.IsZero() || day.Before(to))
}

// Total returns how many rows Scan would read now.
func (l *Lake) Total(ctx context.Context, from, to time.Time) (int64, error) {
	_, rows, err := l.objects(ctx, from, to)
	return rows, err
}

// Scan calls f with each row of the objects that can hold records of the time, until f fails, and returns the objects. Memory: one object.
func (l *Lake) Scan(ctx context.Context, from, to time.Time, f func(Record) error) (plan.Origin, error) {
	origin := plan.Origin{Topic: plan.Topic{Name: l.topic}, Bucket: l.bucket.Name()}
	objects, _, err := l.objects(ctx, from, to)
	if err != nil {
		return origin, err
	}
	for i, o := range objects {
		origin.Objects = append(origin.Objects, o)
		err := l.rows(ctx, o, func(n int64, r archive.Row) error {
			return f(Record{Place: plan.Place{Partition: int32(i), Offset: n}, Event: r.Event, Time: r.Time})
		})
		if errors.Is(err, ErrStop) {
			return origin, nil
		}
		if err != nil {
			return origin, err
		}
	}
	return origin, nil
}

// rows reads an object, once it has the hash that it should.
func (l *Lake) rows(ctx context.Context, o plan.Object, f func(int64, archive.Row) error) error {
	body, err := l.bucket.Get(ctx, o.Key)
	if errors.Is(err, objectstore.ErrNotFound) {
		return fmt.Errorf("object %s: %w: %w", o.Key, ErrGone, err)
	}
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(body); hex.EncodeToString(sum[:]) != o.SHA256 {
		return fmt.Errorf("object %s is not the one with the SHA-256 %.16s...: %w", o.Key, o.SHA256, ErrGone)
	}
	if err := archive.Read(body, func(n int64, r archive.Row) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return f(n, r)
	}); err != nil {
		return fmt.Errorf("object %s: %w", o.Key, err)
	}
	return nil
}

// Check looks for the objects of the entries. The error wraps ErrGone where one is gone, and says which.
func (l *Lake) Check(ctx context.Context, origin plan.Origin, entries []plan.Entry) error {
	if origin.Bucket != l.bucket.Name() || origin.Name != l.topic {
		return fmt.Errorf("the plan was made of %s in bucket %s, not of %s in %s: %w", origin.Name, origin.Bucket, l.topic, l.bucket.Name(), ErrGone)
	}
	var errs []error
	seen := map[int32]bool{}
	for _, e := range entries {
		if seen[e.Partition] {
			continue
		}
		seen[e.Partition] = true
		if int(e.Partition) >= len(origin.Objects) || e.Partition < 0 {
			return fmt.Errorf("event %s lies in object %d of %d: %w", e.Root, e.Partition, len(origin.Objects), ErrGone)
		}
		_, err := l.bucket.Stat(ctx, origin.Objects[e.Partition].Key)
		switch {
		case errors.Is(err, objectstore.ErrNotFound):
			errs = append(errs, fmt.Errorf("object %s: %w", origin.Objects[e.Partition].Key, ErrGone))
		case err != nil:
			return err
		}
	}
	return errors.Join(errs...)
}

// Events calls f with the event of each entry, in order. Entries of one object must be in the order of their rows. Memory: one object.
func (l *Lake) Events(ctx context.Context, origin plan.Origin, entries []plan.Entry, f func(plan.Entry, Record) error) error {
	for i := 0; i < len(entries); {
		object := entries[i].Partition
		if int(object) >= len(origin.Objects) || object < 0 {
			return fmt.Errorf("event %s lies in object %d of %d: %w", entries[i].Root, object, len(origin.Objects), ErrGone)
		}
		err := l.rows(ctx, origin.Objects[object], func(n int64, r archive.Row) error {
			if i == len(entries) || entries[i].Partition != object {
				return ErrStop
			}
			if n < entries[i].Offset {
				return nil
			}
			at := entries[i]
			i++
			if err := verify(r.Event, at); err != nil {
				return err
			}
			return f(at, Record{Place: at.Place, Event: r.Event, Time: r.Time})
		})
		if err != nil && !errors.Is(err, ErrStop) {
			return err
		}
		if i < len(entries) && entries[i].Partition == object {
			return fmt.Errorf("event %s: object %s has no row %d: %w", entries[i].Root, origin.Objects[object].Key, entries[i].Offset, ErrGone)
		}
	}
	return nil
}
