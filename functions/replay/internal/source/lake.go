package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
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

// Objects are those of the landing area that can hold records of a time, the older entries' first.
type Objects struct {
	list []plan.Object
	Rows int64
}

// Find returns the objects that can hold records of the time, by the landing log. What the log says was drained before from is not looked at, nor are objects of other days.
func (l *Lake) Find(ctx context.Context, from, to time.Time) (Objects, error) {
	var found Objects
	ids, err := landing.TopicIDs(ctx, l.bucket, l.topic)
	if err != nil {
		return found, err
	}
	if len(ids) == 0 {
		return found, fmt.Errorf("bucket %s has no landing log of %s", l.bucket.Name(), l.topic)
	}
	type part struct {
		began time.Time
		Objects
	}
	var parts []part
	for _, id := range ids {
		p := part{}
		take := func(e landing.Entry) error {
			if p.began.IsZero() {
				p.began = e.Time
			}
			for _, o := range e.Objects {
				if o.Kind == l.kind && within(o.Key, from, to) {
					p.list, p.Rows = append(p.list, plan.Object{Key: o.Key, SHA256: o.SHA256}), p.Rows+o.Rows
				}
			}
			return nil
		}
		log := landing.Open(l.bucket, l.topic, id)
		if from.IsZero() {
			err = log.After(ctx, 0, take)
		} else { // what was drained before holds no record of the time
			err = log.Since(ctx, from.Add(-clocks), take)
		}
		if err != nil {
			return found, err
		}
		parts = append(parts, p)
	}
	// A topic that was made anew comes behind the one before it, so that of two records of an event the older one is read first.
	slices.SortStableFunc(parts, func(a, b part) int { return a.began.Compare(b.began) })
	for _, p := range parts {
		found.list, found.Rows = append(found.list, p.list...), found.Rows+p.Rows
	}
	return found, nil
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

// Scan calls f with each row of the objects, until f fails, and returns those that were read. Memory: one object.
func (l *Lake) Scan(ctx context.Context, objects Objects, f func(Record) error) (plan.Origin, error) {
	origin := plan.Origin{Topic: plan.Topic{Name: l.topic}, Bucket: l.bucket.Name()}
	for i, o := range objects.list {
		body, err := l.current(ctx, &o)
		if err != nil {
			return origin, err
		}
		origin.Objects = append(origin.Objects, o)
		err = read(ctx, o, body, func(n int64, r archive.Row) error {
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
	body, sum, err := l.get(ctx, o)
	if err != nil {
		return err
	}
	if sum != o.SHA256 {
		return fmt.Errorf("object %s is not the one with the SHA-256 %.16s...: %w", o.Key, o.SHA256, ErrGone)
	}
	return read(ctx, o, body, f)
}

// current returns an object's bytes as they are now, which o then names: those of its entry, or what an erasure of a person made of them. Anything else is gone.
func (l *Lake) current(ctx context.Context, o *plan.Object) ([]byte, error) {
	body, sum, err := l.get(ctx, *o)
	if err != nil || sum == o.SHA256 {
		return body, err
	}
	ids, err := landing.TopicIDs(ctx, l.bucket, l.topic)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		versions, err := landing.Open(l.bucket, l.topic, id).Versions(ctx)
		if err != nil {
			return nil, err
		}
		if _, ok := versions.Find(o.Key, sum); ok {
			o.SHA256 = sum
			return body, nil
		}
	}
	return nil, fmt.Errorf("object %s is not the one with the SHA-256 %.16s...: %w", o.Key, o.SHA256, ErrGone)
}

// get returns an object's bytes and their SHA-256, in hex.
func (l *Lake) get(ctx context.Context, o plan.Object) (body []byte, sum string, err error) {
	body, err = l.bucket.Get(ctx, o.Key)
	if errors.Is(err, objectstore.ErrNotFound) {
		return nil, "", fmt.Errorf("object %s: %w: %w", o.Key, ErrGone, err)
	}
	if err != nil {
		return nil, "", err
	}
	is := sha256.Sum256(body)
	return body, hex.EncodeToString(is[:]), nil
}

// read calls f with each row of an object's bytes.
func read(ctx context.Context, o plan.Object, body []byte, f func(int64, archive.Row) error) error {
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
