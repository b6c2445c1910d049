package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"millrace/functions/curate/internal/warehouse"
	"millrace/shared/landing"
	"millrace/shared/objectstore"
)

// target is a table of events as this run has it.
type target struct {
	name       warehouse.Name
	table      *warehouse.Table // nil where there is none yet
	kind       string
	eventType  string
	model      string
	position   Position
	failed     bool // it is left alone for the rest of the run
	contracted []warehouse.Column
	result     TableResult
}

// piece is an object that is to be ingested.
type piece struct {
	object landing.Object
	place  place
	entry  *landing.Entry
	target *target
	path   string // local
	found  contents
}

// batch is entries of one log that are ingested together.
type batch struct {
	run     *run
	source  *source
	entries []landing.Entry
	pieces  []*piece
	rows    int64
	bytes   int64
	failed  map[warehouse.Name]bool // tables that did not take all of the log's rows in this run
	gone    error                   // the outage that keeps the log from being read on
}

// add takes an entry, and ingests what there is once that is enough. more is false where the log is not to be read on.
func (b *batch) add(ctx context.Context, e landing.Entry) (more bool, err error) {
	pieces, stop, err := b.pick(ctx, e)
	if err != nil {
		return false, err
	}
	if stop != nil {
		_, err := b.ingest(ctx)
		b.run.alarm(*stop)
		return false, err
	}
	for _, p := range pieces {
		b.rows += p.object.Rows
		b.bytes += p.object.Bytes
	}
	b.entries, b.pieces = append(b.entries, e), append(b.pieces, pieces...)
	l := b.run.o.Limits
	if b.rows < l.Rows && b.bytes < l.Bytes && len(b.pieces) < l.Objects && len(b.entries) < l.Entries {
		return true, nil
	}
	if more, err = b.ingest(ctx); err == nil {
		err = b.run.flush(ctx)
	}
	return more, err
}

// pick returns the entry's objects that are to be ingested. stop is why the entry cannot be.
func (b *batch) pick(ctx context.Context, e landing.Entry) (pieces []*piece, stop *Alarm, err error) {
	fresh := e.Sequence > b.source.done
	for _, o := range e.Objects {
		p, err := placeOf(o)
		if err != nil {
			if !fresh {
				continue // it was alarmed when the entry was new, and given up
			}
			a := alarmOf(b.source, e, o, CodeObjectDiffers, err)
			if b.run.accepted(b.source, e.Sequence) {
				a.Stops = false
				b.run.alarm(a)
				continue
			}
			return nil, &a, nil
		}
		if o.Kind == landing.KindRaw {
			continue
		}
		if b.run.whole && !b.run.name(b.source, o, p, e.Sequence) {
			continue
		}
		t, err := b.run.target(ctx, b.source, e, p)
		if err != nil {
			return nil, nil, err
		}
		if t == nil {
			continue // another type's table, as an alarm says
		}
		if _, behind := b.run.behind[t.name.String()][e.TopicID]; !fresh && !behind || t.position[e.TopicID] >= e.Sequence {
			continue
		}
		if t.failed {
			b.fail(t, e.Sequence-1)
			continue
		}
		pieces = append(pieces, &piece{object: o, place: p, entry: &e, target: t})
	}
	return pieces, nil, nil
}

// fail notes that a table has rows of the log up to the sequence only.
func (b *batch) fail(t *target, upTo int64) {
	if b.failed == nil {
		b.failed = map[warehouse.Name]bool{}
	}
	b.failed[t.name] = true
	t.failed = true
	id := b.source.log.TopicID()
	p := b.run.behind[t.name.String()]
	if p == nil {
		p = Position{}
		b.run.behind[t.name.String()] = p
	}
	if _, ok := p[id]; !ok {
		p[id] = upTo
	}
}

// caughtUp forgets the tables that were behind and took all of the log's rows.
func (b *batch) caughtUp() {
	for name, p := range b.run.behind {
		failed := false
		for n := range b.failed {
			failed = failed || n.String() == name
		}
		if !failed {
			delete(p, b.source.log.TopicID())
		}
		if len(p) == 0 {
			delete(b.run.behind, name)
		}
	}
}

func alarmOf(s *source, e landing.Entry, o landing.Object, code Code, err error) Alarm {
	at := s.bucket.Name() + "/" + o.Key
	return Alarm{Code: code, Topic: e.Topic, TopicID: e.TopicID, Sequence: e.Sequence, Object: at, Stops: true, Message: at + ": " + err.Error()}
}

// ingest ingests the batch and begins another. more is false where the log is not to be read on, as an alarm or gone says.
func (b *batch) ingest(ctx context.Context) (more bool, err error) {
	r := b.run
	defer func() { b.entries, b.pieces, b.rows, b.bytes = nil, nil, 0, 0 }()
	if len(b.entries) == 0 {
		return true, nil
	}
	var bad *Alarm
	if !r.dry || r.whole && r.o.Verify {
		if bad, b.gone, err = b.fetch(ctx); err != nil {
			return false, err
		}
	}
	if err := b.write(ctx); err != nil {
		return false, err
	}
	for _, e := range b.entries {
		if e.Sequence <= b.source.done {
			continue
		}
		b.account(e)
	}
	if n := len(b.entries); n > 0 {
		last := b.entries[n-1].Sequence
		r.o.Progress(Progress{Topic: b.source.log.Topic(), Sequence: last, Rows: r.rows})
	}
	if bad != nil {
		r.alarm(*bad)
	}
	return bad == nil && b.gone == nil, nil
}

// account notes an entry that is ingested.
func (b *batch) account(e landing.Entry) {
	r, l := b.run, b.source.result
	l.To, l.Newest = e.Sequence, e.Time
	l.Entries++
	for _, o := range e.Objects {
		l.Rows += o.Rows
		l.Bytes += o.Bytes
	}
	for _, p := range e.Partitions {
		for _, s := range p.Skipped {
			l.Skipped += s.Last - s.First + 1
		}
		a := Alarm{Topic: e.Topic, TopicID: e.TopicID, Sequence: e.Sequence}
		for _, s := range p.Lost {
			l.Lost += s.Last - s.First + 1
			a.Code, a.Message = CodeLost, fmt.Sprintf("partition %d: offsets %d to %d are lost: %s", p.Partition, s.First, s.Last, s.Reason)
			r.alarm(a)
		}
		if p.Broken != nil {
			a.Code, a.Message = CodeBroken, fmt.Sprintf("partition %d is broken at %d (%s; it ends at %d)", p.Partition, p.Next, p.Broken.Reason, p.Broken.End)
			r.alarm(a)
		}
		if p.Rewound != nil {
			a.Code, a.Message = CodeRewound, fmt.Sprintf("partition %d went back from %d to %d", p.Partition, *p.Rewound, p.From)
			r.alarm(a)
		}
	}
	if !r.dry && !r.blind { // else there is nothing that takes them, and they would be those of all logs
		r.entries = append(r.entries, rowsOf(e)...)
	}
	r.position[e.TopicID], r.topics[e.TopicID] = e.Sequence, e.Topic
}

// fetching is how many objects are on their way at a time.
const fetching = 4

// fetch brings the batch's objects here and checks them. The batch is cut before the first entry that is not as it should be: bad says why, or gone is the outage that kept it from being fetched.
func (b *batch) fetch(ctx context.Context) (bad *Alarm, gone, err error) {
	r := b.run
	if len(b.pieces) == 0 {
		return nil, nil, nil
	}
	if r.scratch == "" {
		if r.scratch, err = os.MkdirTemp(r.o.Scratch, "landing-"); err != nil {
			return nil, nil, fmt.Errorf("making a directory for landing objects: %w", err)
		}
	}
	begin := r.o.Clock()
	defer r.timed(&r.result.Durations.Fetch, begin)
	ctx, cancel := context.WithCancel(ctx)
	var loading sync.WaitGroup
	defer loading.Wait()
	defer cancel()
	answers := make([]chan error, len(b.pieces))
	start := func(i int) {
		if i >= len(b.pieces) {
			return
		}
		p := b.pieces[i]
		p.path = filepath.Join(r.scratch, strconv.Itoa(i)+".parquet")
		answers[i] = make(chan error, 1)
		loading.Go(func() { answers[i] <- b.download(ctx, p) })
	}
	for i := range fetching {
		start(i)
	}
	var check *checker
	for i, p := range b.pieces {
		err := <-answers[i]
		start(i + fetching)
		if i == 0 || b.pieces[i-1].entry != p.entry {
			check = newChecker(*p.entry)
		}
		if err == nil {
			begin := r.o.Clock()
			p.found, err = check.file(p)
			r.timed(&r.result.Durations.Verify, begin)
		}
		if err == nil {
			continue
		}
		var v *verdict
		if !errors.As(err, &v) {
			b.cut(p.entry.Sequence)
			return nil, fmt.Errorf("fetching %s of entry %d: %w", p.object.Key, p.entry.Sequence, err), nil
		}
		a := alarmOf(b.source, *p.entry, p.object, v.code, err)
		switch {
		case r.accepted(b.source, p.entry.Sequence):
			a.Stops, a.Message = false, a.Message+givenUp
			r.alarm(a)
			p.target = nil
		case p.entry.Sequence <= b.source.done: // the log was read further; only the table is behind
			a.Table = p.target.name.String()
			r.alarm(a)
			b.fail(p.target, p.entry.Sequence-1)
		default:
			b.cut(p.entry.Sequence)
			return &a, nil, nil
		}
	}
	return nil, nil, nil
}

// cut leaves the entries from the sequence on out of the batch.
func (b *batch) cut(sequence int64) {
	b.entries = slices.DeleteFunc(b.entries, func(e landing.Entry) bool { return e.Sequence >= sequence })
	b.pieces = slices.DeleteFunc(b.pieces, func(p *piece) bool { return p.entry.Sequence >= sequence })
}

// download brings an object to its path. One that is missing, or whose bytes are others than the entry says, is a verdict; other errors are outages.
func (b *batch) download(ctx context.Context, p *piece) (err error) {
	f, err := os.Create(p.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	switch _, err := b.source.bucket.Download(ctx, p.object.Key, f); {
	case errors.Is(err, objectstore.ErrNotFound):
		return &verdict{CodeObjectMissing, errors.New("the object is missing")}
	case err != nil:
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return b.erased(ctx, p, f, sum(p.object, f))
}

// file checks a piece that was downloaded.
func (c *checker) file(p *piece) (_ contents, err error) {
	f, err := os.Open(p.path)
	if err != nil {
		return contents{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return c.parquet(p.object, p.place, f)
}

// write writes the batch's rows, table by table.
func (b *batch) write(ctx context.Context) error {
	byTable := map[*target][]*piece{}
	for _, p := range b.pieces {
		if p.target != nil {
			byTable[p.target] = append(byTable[p.target], p)
		}
	}
	tables := slices.SortedFunc(maps.Keys(byTable), func(a, b *target) int { return cmp.Compare(a.name.String(), b.name.String()) })
	for _, t := range tables {
		if b.run.dry {
			for _, p := range byTable[t] {
				t.take(p)
				t.result.Bytes += p.object.Bytes
			}
			continue
		}
		if t.failed {
			b.fail(t, byTable[t][0].entry.Sequence-1)
			continue
		}
		if err := b.append(ctx, t, byTable[t]); err != nil {
			if err := b.blame(ctx, t, byTable[t][0].entry, err); err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
		}
	}
	return b.clean()
}

// clean removes the local copies of the batch's objects.
func (b *batch) clean() error {
	for _, p := range b.pieces {
		if p.path != "" {
			if err := os.Remove(p.path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("removing a landing object's copy: %w", err)
			}
		}
	}
	return nil
}

func (t *target) take(p *piece) {
	t.result.Objects++
	t.result.Rows += p.object.Rows
	t.result.Days[p.place.date] += p.object.Rows
}

// append commits the pieces to their table, as far as they fit.
func (b *batch) append(ctx context.Context, t *target, pieces []*piece) error {
	r := b.run
	id, upTo := b.source.log.TopicID(), b.entries[len(b.entries)-1].Sequence
	pieces, want, misfit, why := r.fit(t, b.source, pieces)
	if misfit != nil {
		upTo = misfit.entry.Sequence - 1
		a := alarmOf(b.source, *misfit.entry, misfit.object, CodeType, why)
		a.Table, a.Message = t.name.String(), why.Error()
		r.alarm(a)
		defer b.fail(t, upTo)
	}
	if len(pieces) == 0 {
		return nil
	}
	if err := r.ensure(ctx, t, want); err != nil {
		return err
	}
	next := maps.Clone(t.position)
	next[id] = upTo
	added, err := r.append(ctx, t, pieces, map[string]string{PositionProperty: next.String()})
	if err != nil {
		return err
	}
	t.position = next
	r.known[t.name.String()] = slices.Sorted(maps.Keys(next))
	t.result.Commits++
	t.result.Files += len(added.paths)
	t.result.Bytes += added.bytes
	r.rows += added.rows
	for _, p := range pieces {
		t.take(p)
	}
	return nil
}

// givenUp is what the message of an alarm ends with that an operator's word made harmless.
const givenUp = "; it was given up by an operator's word"
