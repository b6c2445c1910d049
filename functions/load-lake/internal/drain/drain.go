package drain

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/google/uuid"

	"millrace/functions/load-lake/internal/table"
	"millrace/shared/contract"
	"millrace/shared/kafka"
	"millrace/shared/landing"
	"millrace/shared/mask"
	"millrace/shared/objectstore"
)

var (
	// ErrNewTopic says that the topic was created anew: its id has no log, but the topic has one under another id.
	ErrNewTopic = errors.New("the topic has a new id")
	// ErrNoTopic says that the topic does not exist, or does not any more. Its log stays as it is.
	ErrNoTopic = errors.New("the topic does not exist, or was deleted")
	// ErrTruncated says that the topic lost events that were drained already: a partition ends before the log does, or holds something else where the log ends.
	ErrTruncated = errors.New("the topic lost events that its landing log has")
	// ErrStale says that an entry's objects were written too long ago to be published (Settings.PublishWithin): package sweep may soon take them for garbage.
	ErrStale = errors.New("the objects are too old to be published")
)

// Source is where records come from; *kafka.Reader is one. Its methods block until they have an answer, and their errors are outages
// unless they say otherwise. They are safe for concurrent use.
type Source interface {
	// Topic asks the cluster itself, past any cache.
	Topic(ctx context.Context, name string) (kafka.Topic, error)
	Span(ctx context.Context, topic string, partition int32) (kafka.Span, error)
	// Fetch returns sarama.ErrOffsetOutOfRange (wrapped) for an offset that the partition does not hold.
	Fetch(ctx context.Context, topic string, partition int32, from int64, maxBytes int32) (kafka.Batch, error)
}

// Store is where objects and the log go; *objectstore.Bucket is one, with the errors of package objectstore.
type Store interface {
	Put(ctx context.Context, key string, body []byte) error
	PutIfAbsent(ctx context.Context, key string, body []byte) error
	Get(ctx context.Context, key string) ([]byte, error)
	List(ctx context.Context, prefix, startAfter string, max int) ([]objectstore.Info, error)
}

// Contracts knows the columns of event types; *contract.Set and *contract.Source are. An error means that no contract of the MODEL is known. It is safe for
// concurrent use.
type Contracts interface {
	Model(eventType string, model int) (contract.Model, error)
}

// Limits bound one entry and with it the drain's memory.
type Limits struct {
	Bytes  int64 // of records with their overhead in memory; 128 MiB where it is 0
	Events int   // 200,000 where it is 0
	// Skips bounds the skipped ranges, which transactions make: each has a marker of its own. 10,000 where it is 0.
	Skips int
	// Groups bounds the objects: records can name any day and any type. 200 where it is 0.
	Groups int
	// Fetch is how much of a partition is asked for at a time, in bytes as they lie in the log; 64 KiB where it is 0. Events of blanks shrink to some hundred bytes
	// there, so what comes can be a hundred times as much: 64 KiB are at most some 150 MB of them.
	Fetch int32
}

// Gate bounds how many entries the drains of a process hold in memory at one time; nil does not.
type Gate chan struct{}

// NewGate returns a gate for n entries.
func NewGate(n int) Gate { return make(Gate, n) }

// enter waits for room; leave must be called afterwards.
func (g Gate) enter(ctx context.Context) (leave func(), err error) {
	if g == nil {
		return func() {}, nil
	}
	select {
	case g <- struct{}{}:
		return func() { <-g }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for other drains' memory: %w", ctx.Err())
	}
}

// Settings are what a Drainer needs to know of its topic.
type Settings struct {
	Topic string
	Kind  string // landing.KindRaw, KindEnriched or KindDead
	// AcceptTopicIDs are new topic ids that the operator accepts, after ErrNewTopic, this topic's or others'.
	AcceptTopicIDs []string
	// AcceptTruncations say where the operator wants broken partitions to go on, after ErrTruncated, this topic's or others'.
	AcceptTruncations []Acceptance
	Limits            Limits
	Gate              Gate // shared by the drainers of a process
	// PublishWithin is how long after its first object an entry may be published; 12 hours where it is 0. It must lie well below the age at which objects
	// without an entry are deleted.
	PublishWithin time.Duration
	// Progress is told where the log ends, once the drain knows and after each entry, its own or another's; nil is not.
	Progress func(Progress)
	// Refresh looks for contracts that are new; nil does not. It is called once the drain's end is fixed: an event before the end was enriched before that, by
	// a contract that was published earlier still, so that the columns of what is drained are known. Where it cannot look, it says so itself, and
	// the contracts stay.
	Refresh func(ctx context.Context)
	// Key gives the key to mask personal data with, for KindEnriched; it is asked once for each event type that has such in a drain. While it has none, partitions are read up to the first event
	// that needs one, and then the drain is an error.
	Key func() (*mask.Key, error)
	// ContractsWait is how old an enriched event may be whose contract is not known for its partition to be read no further, since the contract may be on its way; 0 does not wait. An older
	// one, or one from further in the future, is written without its data (package table).
	ContractsWait time.Duration
}

// Progress says where a topic's log ends.
type Progress struct {
	Next map[int32]int64 // by partition; empty where the log is. The receiver's to keep
	Lag  int64           // offsets that were in the topic when the drain began and are not in the log
	Held int64           // offsets that were in the topic when the drain began: where nearly all of them are Lag, what Kafka deletes next was not drained
	Last time.Time       // of the newest entry; zero where there is none
}

// Drainer drains one topic. Drain may be called concurrently, in any number of processes.
type Drainer struct {
	settings  Settings
	source    Source
	store     Store
	contracts Contracts
	clock     func() time.Time
	logger    *slog.Logger
	observe   func(landing.Entry)
}

// New returns a drainer. contracts is asked for KindEnriched alone; observe is told of each entry that was published, and
// may be nil.
func New(s Settings, source Source, store Store, contracts Contracts, clock func() time.Time, logger *slog.Logger, observe func(landing.Entry)) *Drainer {
	if s.Limits.Bytes == 0 {
		s.Limits.Bytes = 128 << 20
	}
	if s.Limits.Events == 0 {
		s.Limits.Events = 200_000
	}
	if s.Limits.Skips == 0 {
		s.Limits.Skips = 10_000
	}
	if s.Limits.Groups == 0 {
		s.Limits.Groups = 200
	}
	if s.Limits.Fetch == 0 {
		s.Limits.Fetch = 64 << 10
	}
	if s.Key == nil {
		s.Key = mask.Settings{}.Open().Key
	}
	if s.PublishWithin == 0 {
		s.PublishWithin = 12 * time.Hour
	}
	if s.Progress == nil {
		s.Progress = func(Progress) {}
	}
	if observe == nil {
		observe = func(landing.Entry) {}
	}
	return &Drainer{settings: s, source: source, store: store, contracts: contracts, clock: clock, logger: logger.With("topic", s.Topic), observe: observe}
}

// Result says what a drain did.
type Result struct {
	Drain   string
	Entries int
	Rows    int64
	Lost    int64 // offsets
	// Done is whether the end was reached, by this drain or by others; else the time was up.
	Done bool
}

// Drain reads the topic until the end that it has now and publishes what it read. It begins no further entry once more says no. An error
// leaves the log at the last entry published; repeating is always safe.
func (d *Drainer) Drain(ctx context.Context, more func() bool) (Result, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Result{}, fmt.Errorf("drain id: %w", err)
	}
	run := &run{Drainer: d, id: id.String(), layouts: map[string]*table.Layout{}, versions: map[kind]bool{}}
	run.result.Drain = run.id
	err = run.drain(ctx, more)
	if err != nil {
		return run.result, fmt.Errorf("drain %s of %s: %w", run.id, d.settings.Topic, err)
	}
	return run.result, nil
}

// kind is an event type in one version.
type kind struct{ eventType, version string }

// maxVersions bounds what a drain remembers of them.
const maxVersions = 1000

// run is one drain.
type run struct {
	*Drainer
	id       string
	log      *landing.Log
	objects  int // written so far, by which they are numbered
	layouts  map[string]*table.Layout
	versions map[kind]bool // whether there is a contract
	first    bool          // the log was empty when the drain began
	wrote    time.Time     // when the next entry's first object was begun
	result   Result
}

func (d *run) drain(ctx context.Context, more func() bool) error {
	topic, err := d.topic(ctx)
	if err != nil {
		return err
	}
	d.log = landing.Open(d.store, topic.Name, topic.ID)
	tail, err := d.log.Tail(ctx)
	if err != nil {
		return err
	}
	d.first = tail.Sequence == 0
	if d.first {
		if err := d.accept(ctx, topic); err != nil {
			return err
		}
	}
	start, end := map[int32]int64{}, map[int32]int64{}
	for _, p := range topic.Partitions {
		span, err := d.source.Span(ctx, topic.Name, p)
		if err != nil {
			return err
		}
		start[p], end[p] = span.Start, span.End
	}
	d.settings.Progress(progress(tail, start, end))
	if tail, err = d.intact(ctx, tail, start, end); err != nil {
		return err
	}
	if d.settings.Refresh != nil && remaining(tail, end) {
		d.settings.Refresh(ctx)
	}
	for remaining(tail, end) {
		entry, err := d.fill(ctx, topic, tail, end, more)
		if err != nil {
			return err
		}
		if entry.Sequence == 0 {
			return nil // the time is up
		}
		again, err := d.topic(ctx)
		if err != nil {
			return err
		}
		if again.ID != topic.ID {
			return fmt.Errorf("%w, %s, while the drain of %s was under way", ErrNewTopic, again.ID, topic.ID)
		}
		if err := d.stale(); err != nil {
			return err
		}
		switch err := d.log.Append(ctx, tail, entry); {
		case err == nil:
			d.published(entry)
			tail = entry
		case errors.Is(err, landing.ErrLost):
			d.logger.InfoContext(ctx, "another drain was first, its work stands", "drain", d.id, "sequence", entry.Sequence)
			if tail, err = d.log.Tail(ctx); err != nil {
				return err
			}
			if err := stopped(tail, nil); err != nil {
				return err
			}
		default:
			return err
		}
		d.settings.Progress(progress(tail, start, end))
	}
	d.result.Done = true
	return nil
}

// topic asks for the topic. One that is gone has taken with it what was not drained.
func (d *run) topic(ctx context.Context) (kafka.Topic, error) {
	t, err := d.source.Topic(ctx, d.settings.Topic)
	if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		return t, fmt.Errorf("%w: run provision, which makes it (%w). What was not drained of one that was deleted is gone; what was is in its landing log", ErrNoTopic, err)
	}
	return t, err
}

// stale returns ErrStale where the objects are too old to be published, by the clock on the wall too: a machine that was suspended may count no time for itself.
func (d *run) stale() error {
	now := d.clock()
	if age := max(now.Sub(d.wrote), now.Round(0).Sub(d.wrote.Round(0))); age > d.settings.PublishWithin {
		return fmt.Errorf("%w: %s", ErrStale, age)
	}
	return nil
}

// fill reads and writes what the next entry publishes; the zero Entry where more said no before anything was read.
func (d *run) fill(ctx context.Context, topic kafka.Topic, tail landing.Entry, end map[int32]int64, more func() bool) (landing.Entry, error) {
	leave, err := d.settings.Gate.enter(ctx)
	if err != nil {
		return landing.Entry{}, err
	}
	defer leave()
	work, err := d.read(ctx, tail, end, more)
	if err != nil {
		return landing.Entry{}, err
	}
	if !work.progress() {
		return landing.Entry{}, work.keyless
	}
	return d.write(ctx, topic, tail, work)
}

// accept returns nil where a topic id without a log may have one.
func (d *run) accept(ctx context.Context, topic kafka.Topic) error {
	ids, err := landing.TopicIDs(ctx, d.store, topic.Name)
	if err != nil {
		return err
	}
	if len(ids) == 0 || slices.Contains(ids, topic.ID) || slices.Contains(d.settings.AcceptTopicIDs, topic.ID) {
		return nil
	}
	return fmt.Errorf("%w, %s; its landing log is of %s: was it deleted and created anew? Events that were not drained before are gone. "+
		"To go on with a new log add it to DRAIN_ACCEPT_TOPIC_ID: %s", ErrNewTopic, topic.ID, strings.Join(ids, ", "), topic.ID)
}

// progress returns where the tail is in a topic of these offsets.
func progress(tail landing.Entry, start, end map[int32]int64) Progress {
	p := Progress{Next: tail.Next(), Last: tail.Time}
	for i, e := range end {
		p.Held += e - start[i]
		p.Lag += max(e-max(p.Next[i], start[i]), 0)
	}
	return p
}

// remaining reports whether there is something to read between the tail and the end. Another drain may have read beyond the end.
func remaining(tail landing.Entry, end map[int32]int64) bool {
	next := tail.Next()
	for p, e := range end {
		if next[p] < e {
			return true
		}
	}
	return false
}

// work is what was read for one entry.
type work struct {
	partitions []landing.Partition
	groups     map[group][]*sarama.ConsumerMessage
	order      []group // by first record
	events     int
	bytes      int64
	skips      int
	waiting    map[int32]bool // partitions that are not to be read further now
	keyless    error          // why one of them is not, where somebody has to do something
}

// group is what goes into one object.
type group struct {
	eventType, model string // enriched
	day              string
}

// read reads on from the tail until the end, a limit, or more says no, a fetch of each partition in turn.
func (d *run) read(ctx context.Context, tail landing.Entry, end map[int32]int64, more func() bool) (*work, error) {
	w := &work{groups: map[group][]*sarama.ConsumerMessage{}, waiting: map[int32]bool{}}
	next := tail.Next()
	for p := range end {
		// A partition that is new to the log begins at 0; one that is new to us, another drain's, stays as it is.
		next[p] = max(next[p], 0)
	}
	for p, n := range next {
		w.partitions = append(w.partitions, landing.Partition{Partition: p, From: n, Next: n})
	}
	for _, p := range tail.Partitions {
		i := slices.IndexFunc(w.partitions, func(w landing.Partition) bool { return w.Partition == p.Partition })
		w.partitions[i].Last = p.Last
	}
	slices.SortFunc(w.partitions, func(a, b landing.Partition) int { return int(a.Partition - b.Partition) })
	for progress := true; progress; {
		progress = false
		for i := range w.partitions {
			p := &w.partitions[i]
			if p.Next >= end[p.Partition] || w.waiting[p.Partition] {
				continue
			}
			if !more() {
				return w, nil
			}
			full, err := d.readSome(ctx, w, p, end[p.Partition])
			if err != nil {
				return nil, err
			}
			if full {
				return w, nil
			}
			progress = true
		}
	}
	return w, nil
}

// patience is how many fetches in a row may bring nothing though the partition goes on, before that is an error.
const patience = 20

// readSome fetches once and takes what fits; full is whether a limit was reached.
func (d *run) readSome(ctx context.Context, w *work, p *landing.Partition, end int64) (full bool, err error) {
	batch, err := d.fetch(ctx, p.Partition, p.Next, d.settings.Limits.Fetch)
	if errors.Is(err, sarama.ErrOffsetOutOfRange) {
		return false, d.outOfRange(ctx, p, end, err)
	}
	if err != nil {
		return false, err
	}
	if err := d.same(ctx, p, batch); err != nil {
		return false, err
	}
	// The end was fixed when the drain began. Offsets behind it are the next drain's, so that a drain ends.
	limit := min(batch.Next, end)
	for _, m := range batch.Records {
		if m.Offset >= limit {
			break
		}
		g, version := d.group(m)
		_, known := w.groups[g]
		if wait, err := d.waits(g, version, known, m); wait || err != nil {
			w.waiting[p.Partition], limit = true, m.Offset
			w.keyless = cmp.Or(w.keyless, err)
			break
		}
		if w.events == d.settings.Limits.Events || (w.bytes > 0 && w.bytes+weight(m) > d.settings.Limits.Bytes) ||
			(!known && len(w.groups) == d.settings.Limits.Groups) {
			limit, full = m.Offset, true
			break
		}
		w.take(g, m)
	}
	for _, s := range batch.Skipped {
		if s.First >= limit {
			break
		}
		w.skip(p, landing.Range{First: s.First, Last: min(s.Last, limit-1), Reason: s.Reason})
	}
	if limit > p.Next {
		p.Next, p.Last = limit, markOf(batch, limit-1)
	}
	return full || w.skips >= d.settings.Limits.Skips, nil
}

// waits reports whether an event is to be read later: until its contract is here, or with an error where there is no key to mask it with. known is whether the entry has others of its group.
func (d *run) waits(g group, version string, known bool, m *sarama.ConsumerMessage) (bool, error) {
	if d.settings.Kind != landing.KindEnriched {
		return false, nil
	}
	// A producer's clock can be years ahead: its event would wait as long.
	if g.eventType != "" && version != "" && !d.here(g, version) && d.clock().Sub(m.Timestamp).Abs() < d.settings.ContractsWait {
		d.logger.Warn("no contract yet: the partition waits", "event_type", g.eventType, "version", version, "partition", m.Partition, "offset", m.Offset)
		return true, nil
	}
	if known {
		return false, nil
	}
	_, err := d.layout(g)
	return err != nil, err
}

// here reports whether a version's contract is known.
func (d *run) here(g group, version string) bool {
	key := kind{g.eventType, version}
	here, asked := d.versions[key]
	if !asked {
		here = slices.ContainsFunc(d.model(g).Versions, func(c *contract.Contract) bool { return c.Version == version })
		if len(d.versions) == maxVersions { // producers past enrich can invent any number
			clear(d.versions)
		}
		d.versions[key] = here
		if !here {
			d.logger.Warn("no contract: events that are too old to wait for it are rows without their data, which is in raw alone", "event_type", g.eventType, "version", version)
		}
	}
	return here
}

// fetch fetches until there is something at the offset, which the partition is known to hold.
func (d *run) fetch(ctx context.Context, partition int32, offset int64, bytes int32) (kafka.Batch, error) {
	for range patience {
		batch, err := d.source.Fetch(ctx, d.settings.Topic, partition, offset, bytes)
		if err != nil || batch.Next > offset {
			return batch, err
		}
	}
	return kafka.Batch{}, fmt.Errorf("partition %d has nothing at %d, though it goes on", partition, offset)
}

// progress reports whether anything was read.
func (w *work) progress() bool {
	return slices.ContainsFunc(w.partitions, func(p landing.Partition) bool { return p.Next > p.From })
}

func (w *work) take(g group, m *sarama.ConsumerMessage) {
	if _, ok := w.groups[g]; !ok {
		w.order = append(w.order, g)
	}
	w.groups[g] = append(w.groups[g], m)
	w.events++
	w.bytes += weight(m)
}

func (w *work) skip(p *landing.Partition, r landing.Range) {
	if n := len(p.Skipped); n > 0 && p.Skipped[n-1].Reason == r.Reason && p.Skipped[n-1].Last == r.First-1 {
		p.Skipped[n-1].Last = r.Last
		return
	}
	p.Skipped = append(p.Skipped, r)
	w.skips++
}

// weight is what a record takes in memory.
func weight(m *sarama.ConsumerMessage) int64 {
	n := 256 + len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		n += 64 + len(h.Key) + len(h.Value)
	}
	return int64(n)
}

// outOfRange makes offsets that Kafka no longer has a lost range, and anything else an error.
func (d *run) outOfRange(ctx context.Context, p *landing.Partition, end int64, cause error) error {
	span, err := d.source.Span(ctx, d.settings.Topic, p.Partition)
	if err != nil {
		return err
	}
	switch {
	case span.End < p.Next:
		return fmt.Errorf("%w: partition %d ends at %d, and was read until %d", ErrTruncated, p.Partition, span.End, p.Next)
	case span.Start <= p.Next:
		return cause // it is there now: the next attempt reads it
	}
	reason := landing.ReasonRetention
	if d.first {
		reason = landing.ReasonBeforeFirst
	}
	lost := landing.Range{First: p.Next, Last: min(span.Start, end) - 1, Reason: reason}
	p.Lost = append(p.Lost, lost)
	p.Next, p.Last = lost.Last+1, nil
	return nil
}

const day = "2006-01-02"

// noType and noModel stand for what an enriched record should have and has not. No valid type begins with an underscore.
const noType, noModel = "_", "_"

func (d *run) group(m *sarama.ConsumerMessage) (g group, version string) {
	g.day = m.Timestamp.UTC().Format(day)
	if d.settings.Kind == landing.KindEnriched {
		g.eventType, version = table.Kind(m)
		g.model, _, _ = strings.Cut(version, "-")
	}
	return g, version
}

// write writes the work's objects and returns the entry that publishes them.
func (d *run) write(ctx context.Context, topic kafka.Topic, tail landing.Entry, w *work) (landing.Entry, error) {
	e := landing.Entry{
		Version: landing.Version, Topic: topic.Name, TopicID: topic.ID, Sequence: tail.Sequence + 1, Drain: d.id, Partitions: w.partitions,
	}
	d.wrote = d.clock()
	for _, g := range w.order {
		records := w.groups[g]
		layout, err := d.layout(g)
		if err != nil {
			return landing.Entry{}, err
		}
		body, err := layout.Encode(records)
		if err != nil {
			return landing.Entry{}, fmt.Errorf("encode %d records of %+v: %w", len(records), g, err)
		}
		delete(w.groups, g)
		sum := sha256.Sum256(body)
		o := landing.Object{
			Key: d.key(g), Kind: d.settings.Kind, Type: g.eventType,
			Rows: int64(len(records)), Bytes: int64(len(body)), SHA256: hex.EncodeToString(sum[:]),
		}
		if err := d.store.Put(ctx, o.Key, body); err != nil {
			return landing.Entry{}, err
		}
		e.Objects = append(e.Objects, o)
	}
	e.Time = d.clock().UTC()
	return e, nil
}

// key returns the next object's key.
func (d *run) key(g group) string {
	p := landing.Place{Kind: d.settings.Kind, Type: cmp.Or(g.eventType, noType), Model: cmp.Or(g.model, noModel), Day: g.day, Drain: d.id, N: d.objects}
	d.objects++
	return p.Key()
}

// maxLayouts bounds the column buffers that are kept for the next object of a type.
const maxLayouts = 16

// layout returns the columns of the group's objects.
func (d *run) layout(g group) (*table.Layout, error) {
	k := g.eventType + " " + g.model
	l, ok := d.layouts[k]
	if ok {
		return l, nil
	}
	if len(d.layouts) == maxLayouts {
		clear(d.layouts)
	}
	if d.settings.Kind == landing.KindEnriched {
		m := d.model(g)
		var key *mask.Key
		if mask.Of(m) != nil {
			var err error
			if key, err = d.settings.Key(); err != nil {
				return nil, fmt.Errorf("rows of %s: %w", g.eventType, err)
			}
		}
		l = table.Enriched(m, key)
	} else {
		l = table.Raw()
	}
	d.layouts[k] = l
	return l, nil
}

// model returns what contracts say of the group, the zero Model where that is nothing.
func (d *run) model(g group) contract.Model {
	n, err := strconv.Atoi(g.model)
	if err != nil || g.eventType == "" {
		return contract.Model{}
	}
	m, err := d.contracts.Model(g.eventType, n)
	if err != nil {
		return contract.Model{} // here says so
	}
	return m
}

func (d *run) published(e landing.Entry) {
	d.result.Entries++
	for _, o := range e.Objects {
		d.result.Rows += o.Rows
	}
	for _, p := range e.Partitions {
		for _, l := range p.Lost {
			d.result.Lost += l.Last - l.First + 1
			d.logger.Error("events were lost: Kafka no longer has offsets that were not drained", "drain", d.id, "partition", p.Partition,
				"first", l.First, "last", l.Last, "reason", l.Reason, "sequence", e.Sequence)
		}
	}
	d.observe(e)
}
