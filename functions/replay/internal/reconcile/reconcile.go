// Package reconcile accounts for every event of a time: whether each that a topic holds came to where it belongs. It goes by durable state alone, over
// distinct root ids: Kafka's topics, the documents in search, and the landing log.
//
// What must hold: each event of raw is in enriched or a dead letter; each of enriched is in search or a dead letter; each dead letter is in search; each
// record of the three topics is in the landing log. What does not is a gap, or waits: its record is not yet behind the committed offset of the group that
// reads it, or not yet drained.
//
// It reads a consistent picture of a pipeline at work: positions first, then raw, enriched and dead, each to its end, search with each (by id, so that unrefreshed
// documents count), and the logs last. So an event that moves meanwhile is seen at its later place, or still waits by the position that was read first.
//
// It writes nothing. It does not look into the lake's objects beyond their entries' own sums (see package landing), nor for a document that stands in two days' indexes; and of two payloads under
// one root id it follows each from enriched on, but only one from raw.
// Memory: about 40 bytes for each distinct root id, [MaxRoots] at most, and 40 for each enriched event of the last [together], beside what one fetch of a topic takes.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"millrace/functions/replay/internal/plan"
	"millrace/functions/replay/internal/source"
	"millrace/shared/document"
	"millrace/shared/event"
	"millrace/shared/landing"
	"millrace/shared/search"
)

// MaxRoots bounds the distinct root ids of one run, and so its memory to about 1.5 GB.
const MaxRoots = 20_000_000

// early is how much before its record in raw, by another clock, an event's record in a later topic may be dated.
const early = 10 * time.Minute

// lookups is how many documents are asked for at a time.
const lookups = 1000

// together is how many enriched events' documents are looked for together, and scanFrom from how many of one index a scan is worth its while.
const (
	together = 4_000_000
	scanFrom = 5_000
)

// scanMost is how many documents a scan may pass for each that is looked for: asking for one by its id costs Elasticsearch about so many times as much.
const scanMost = 5

// Topic is one of the three topics, as *source.Topic reads it.
//
// Scan calls f with each record written at from or later, to the end as it is at the call, and returns the partitions of which Kafka has deleted records since from. Both methods block.
type Topic interface {
	Scan(ctx context.Context, from time.Time, f func(source.Record) error) (origin plan.Origin, forgotten []int32, err error)
	// Record returns the record at an offset, or an error that wraps source.ErrGone.
	Record(ctx context.Context, partition int32, offset int64) (source.Record, error)
}

// Documents is search. Versions returns for each document, in order, whether it is there, and the hash of its event's data; it sees unrefreshed ones.
type Documents interface {
	document.Names
	Versions(ctx context.Context, refs []search.Ref) ([]search.Version, error)
}

// Scanner is search for many documents at a time. Scan calls f with the id and the hash of each refreshed document of an index whose event was collected from one time to another,
// both included; Count returns how many those are. Scan's error wraps search.ErrNoScan where the server has no such thing. What it does not find is asked for by Versions.
type Scanner interface {
	Count(ctx context.Context, index string, from, to time.Time) (int64, error)
	Scan(ctx context.Context, index string, from, to time.Time, f func(id, hash []byte) error) error
}

// Log is the landing log of one topic id. Back calls f with its entries from the newest on, and proves that they join.
type Log interface {
	Back(ctx context.Context, f func(landing.Entry) (more bool, err error)) error
}

// Stage is one topic with who reads it and where it is landed.
type Stage struct {
	Name  string // of the topic
	Topic Topic
	// Group is the consumer group that reads the topic on to the next stage, Committed its offsets by partition as they were before the first Scan; nil where the group has none,
	// which makes a gap of what would wait.
	Group     string
	Committed map[int32]int64
	// Log opens the landing log of a topic id.
	Log func(topicID string) Log
	// TopicIDs returns the ids under which a topic of the name has a landing log; nil: nobody looks for former ones.
	TopicIDs func(ctx context.Context) ([]string, error)
}

// Options say what to account for.
type Options struct {
	From, To            time.Time // of the records in Kafka: From <= time < To
	Raw, Enriched, Dead Stage
	Documents           Documents
	Scanner             Scanner                            // nil: each document is asked for by its id
	MaxRoots            int                                // 0: [MaxRoots]
	MaxGaps             int                                // gaps that the report names; the others it counts
	Progress            func(topic string, done, of int64) // told now and then; may be nil
}

// found is what was found of one root id: flags, and the highest replaycounts of its records in raw and of what came of those, and of its enriched events that are followed to search and of what
// load-search made dead letters of. A replay of a dead letter must come to something anew, wherever it entered.
type found struct {
	flags
	raw, out       uint8
	enriched, dead uint8
}

// flags are what is true of one root id.
type flags uint16

const (
	inRaw        flags = 1 << iota // in the time asked for
	inEnriched                     // at any time since
	followed                       // an enriched event whose document is looked for
	inDead                         // a dead letter before it was enriched
	inDeadAfter                    // a dead letter after it was enriched
	asked                          // its enriched event or dead letter is of the time asked for, or inRaw
	inSearch                       // its document
	lacksSearch                    // not that of one of its enriched events, whose payload may be another
	inSearchDead                   // the document of each of its dead letters
	lacksDead                      // not that of one of them
	waitsRaw                       // its record in raw is behind the committed offset
	waitsEnriched
	waitsDead
)

// Why says at which step an event is missing.
type Why string

// The gaps.
const (
	NotEnriched   Why = "in events.raw, neither enriched nor a dead letter"
	NotSearchable Why = "enriched, neither in search nor a dead letter"
	DeadNotFound  Why = "a dead letter that is not in search"
	ReplayLost    Why = "in events.raw by a replay, of which neither an enriched event nor a dead letter came"
	NotLanded     Why = "in the topic, and in no entry of its landing log"
)

// Gap is one event that did not come to where it belongs.
type Gap struct {
	RootID string `json:"root_id,omitempty"` // "" where the record is no CloudEvent
	Why    Why    `json:"why"`
	Place  string `json:"place,omitempty"` // topic/partition@offset, of what is not landed
}

// Landed is how far a topic's records of the time are in the landing log.
type Landed struct {
	Topic   string `json:"topic"`
	TopicID string `json:"topic_id"`
	Records int64  `json:"records"` // of the time asked for
	Landed  int64  `json:"landed"`
	Waiting int64  `json:"waiting"` // not drained yet
	Lost    int64  `json:"lost"`    // in a lost range of the log
	Skipped int64  `json:"skipped"` // in a skipped range, though the topic holds a record there
	Missing int64  `json:"missing"` // behind the log's end, and in no entry
}

// Report is what came out. The sums are over distinct root ids.
type Report struct {
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Raw      int64     `json:"raw"`
	Enriched int64     `json:"enriched"`       // of Raw
	Dead     int64     `json:"dead"`           // of Raw, dead letters before they were enriched
	Waiting  int64     `json:"waiting"`        // of Raw, for enrich
	Search   Step      `json:"search"`         // of all that is enriched
	Letters  Step      `json:"dead_in_search"` // of all dead letters, those of collect among them
	Landing  []Landed  `json:"landing"`
	// Undecodable are records that are no CloudEvent, which have no root id.
	Undecodable map[string]int64 `json:"undecodable"`
	// Forgotten are partitions of which Kafka has deleted records since From: the time is not whole.
	Forgotten map[string][]int32 `json:"forgotten"`
	// InLake is what the landing log says of those deleted records, by topic.
	InLake map[string]Deleted `json:"in_lake"`
	// Former are the topics of the same names, with other ids, that were landed since From: what they held is not accounted for.
	Former []Former `json:"former"`
	// Truncated are partitions whose end Kafka lost since From, or before and nobody has said how to go on: what it held is not accounted for.
	Truncated []Truncated `json:"truncated"`
	// Gaps are the first of GapCount.
	Gaps     []Gap `json:"gaps"`
	GapCount int64 `json:"gap_count"`
}

// Deleted is what the landing log has of records that Kafka deleted. An entry can hold some that are older than the time asked for, so it is at most so many.
type Deleted struct {
	Landed int64 `json:"landed"`
	Lost   int64 `json:"lost"`
}

// Former is a topic that is no more.
type Former struct {
	Topic   string    `json:"topic"`
	TopicID string    `json:"topic_id"`
	Landed  time.Time `json:"landed"` // last
}

// Truncated is a partition that lost its end, as the landing log has it.
type Truncated struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"` // the first that is lost, or was given out again
	Seen      time.Time `json:"seen"`
	Stands    bool      `json:"stands"` // the drains wait for an operator's word
}

// Step is the sum of one step: All = Found + Dead + Waiting + gaps.
type Step struct {
	All     int64 `json:"all"`
	Found   int64 `json:"found"`
	Dead    int64 `json:"dead"` // dead letters of this step in place of it
	Waiting int64 `json:"waiting"`
}

// Closed reports whether the sums close: nothing is missing, though some may wait.
func (r *Report) Closed() bool {
	if r.GapCount > 0 || len(r.Forgotten) > 0 || len(r.Former) > 0 || len(r.Truncated) > 0 {
		return false
	}
	for _, l := range r.Landing {
		if l.Lost+l.Missing+l.Skipped > 0 {
			return false
		}
	}
	return true
}

// Waits is how many events and records are under way.
func (r *Report) Waits() int64 {
	n := r.Waiting + r.Search.Waiting + r.Letters.Waiting
	for _, l := range r.Landing {
		n += l.Waiting
	}
	return n
}

// Run accounts for the time. The error says what could not be read; then there is no report.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.MaxRoots == 0 {
		o.MaxRoots = MaxRoots
	}
	r := &run{o: o, roots: map[uuid.UUID]found{}, report: &Report{
		From: o.From, To: o.To, Undecodable: map[string]int64{}, Forgotten: map[string][]int32{}, InLake: map[string]Deleted{}, Former: []Former{}, Truncated: []Truncated{}, Landing: []Landed{}, Gaps: []Gap{},
	}}
	before := o.From
	if !before.IsZero() { // which is all there is
		before = before.Add(-early)
	}
	steps := []struct {
		stage *Stage
		from  time.Time
		note  func(e *event.Event, inTime, waits bool, f found) found
		find  bool
	}{{&o.Raw, o.From, r.raw, false}, {&o.Enriched, before, r.enriched, true}, {&o.Dead, before, r.dead, true}}
	seen := make([]seen, len(steps))
	for i, s := range steps {
		if err := r.scan(ctx, s.stage, s.from, s.note, s.find, &seen[i]); err != nil {
			return nil, err
		}
	}
	for i, s := range steps {
		if err := seen[i].remember(ctx, s.stage, s.from); err != nil {
			return nil, err
		}
		if len(seen[i].forgotten) > 0 {
			r.report.Forgotten[s.stage.Name] = seen[i].forgotten
			deleted, err := seen[i].deleted(ctx, s.stage, s.from)
			if err != nil {
				return nil, err
			}
			r.report.InLake[s.stage.Name] = deleted
		}
		landed, missing, err := seen[i].landed(ctx, s.stage, o.MaxGaps)
		if err != nil {
			return nil, err
		}
		r.report.Landing = append(r.report.Landing, landed)
		if err := r.notLanded(ctx, s.stage, missing); err != nil {
			return nil, err
		}
		if err := r.former(ctx, s.stage, seen[i].topicID, s.from); err != nil {
			return nil, err
		}
		if err := r.truncated(ctx, s.stage, seen[i].topicID, s.from); err != nil {
			return nil, err
		}
	}
	r.sum()
	return r.report, nil
}

type run struct {
	o       Options
	roots   map[uuid.UUID]found
	report  *Report
	pending []pending
	wanted  wanted
	noScan  bool
}

// pending is a document that is to be looked for.
type pending struct {
	root uuid.UUID
	ref  search.Ref
	hash string
	dead bool
	// version is the least that the document of a replay has.
	version int64
	// again: the dead letter's id was another payload's, and this is the id that holds its hash.
	again bool
}

// seen are the records of the time, by partition.
type seen struct {
	topicID string
	records map[int32][]span // in order
	// forgotten are the partitions of which Kafka may have deleted records of the time, and starts the offsets up to which it has.
	forgotten []int32
	starts    map[int32]int64
}

// span is a run of offsets, both included.
type span struct{ first, last int64 }

func (s *seen) add(partition int32, offset int64) {
	list := s.records[partition]
	if n := len(list); n > 0 && list[n-1].last == offset-1 {
		list[n-1].last = offset
		return
	}
	s.records[partition] = append(list, span{offset, offset})
}

// scan reads a topic from a time to its end and notes what it finds of each root id.
func (r *run) scan(ctx context.Context, s *Stage, from time.Time, note func(*event.Event, bool, bool, found) found, find bool, seen *seen) error {
	seen.records = map[int32][]span{}
	var done int64
	origin, forgotten, err := s.Topic.Scan(ctx, from, func(rec source.Record) error {
		if done++; r.o.Progress != nil && done%10_000 == 0 {
			r.o.Progress(s.Name, done, 0)
		}
		inTime := !rec.Time.Before(r.o.From) && rec.Time.Before(r.o.To)
		if inTime {
			seen.add(rec.Partition, rec.Offset)
		}
		rootID, e := rec.Root(), rec.Event
		if rootID == "" {
			if inTime {
				r.report.Undecodable[s.Name]++
			}
			return nil
		}
		root, err := uuid.Parse(rootID)
		if err != nil { // another producer's: it goes by what it would be
			root = uuid.MustParse(event.Identity("", rootID))
		}
		committed, known := s.Committed[rec.Partition]
		waits := len(s.Committed) > 0 && (!known || rec.Offset >= committed)
		was, there := r.roots[root]
		now := note(e, inTime, waits, was)
		if now.flags == 0 {
			return nil
		}
		if !there && len(r.roots) >= r.o.MaxRoots {
			return fmt.Errorf("more than %d events between %s and %s: ask for less time", r.o.MaxRoots, r.o.From.Format(time.RFC3339), r.o.To.Format(time.RFC3339))
		}
		r.roots[root] = now
		if !find || now.flags&asked == 0 {
			return nil
		}
		ref, err := document.Ref(r.o.Documents, e)
		if err != nil { // load-search makes a dead letter of what can be no document; without one it is missing in search
			r.mark(root, lacksSearch)
			return nil //nolint:nilerr // the sums tell
		}
		hash, dead := event.Attr(e, event.DataHash), event.IsDead(e)
		version := int64(event.Replays(e)) + 1
		if !dead && version == 1 && r.o.Scanner != nil && ref.ID == rootID && plain(rootID) && r.wanted.add(root, ref, hash, event.Attr(e, event.CollectorTime)) {
			if len(r.wanted.list) >= together {
				return r.find(ctx)
			}
			return nil
		}
		r.pending = append(r.pending, pending{root: root, ref: ref, hash: hash, dead: dead, version: version})
		if len(r.pending) >= lookups {
			return r.lookUp(ctx)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading %s: %w", s.Name, err)
	}
	if err := r.find(ctx); err != nil {
		return err
	}
	if err := r.lookUp(ctx); err != nil {
		return err
	}
	seen.topicID = origin.ID
	seen.forgotten, seen.starts = forgotten, map[int32]int64{}
	for _, p := range origin.Partitions {
		seen.starts[p.Partition] = p.From
	}
	if r.o.Progress != nil {
		r.o.Progress(s.Name, done, done)
	}
	return nil
}

// plain reports whether a root id is in the spelling that its bytes have.
func plain(rootID string) bool { return len(rootID) == 36 && !strings.ContainsAny(rootID, "ABCDEF") }

func (r *run) raw(e *event.Event, inTime, waits bool, f found) found {
	if !inTime {
		return found{}
	}
	f.flags |= inRaw | asked | when(waits, waitsRaw)
	f.raw = max(f.raw, replays(e))
	return f
}

func (r *run) enriched(e *event.Event, inTime, waits bool, f found) found {
	f.flags |= inEnriched | when(inTime, asked) | when(waits, waitsEnriched)
	f.out = max(f.out, replays(e))
	if f.flags&asked != 0 {
		f.flags |= followed
		f.enriched = max(f.enriched, replays(e))
	}
	return f
}

func (r *run) dead(e *event.Event, inTime, waits bool, f found) found {
	where := inDead
	if event.Attr(e, event.Stage) == event.StageEnriched {
		where = inDeadAfter
		f.dead = max(f.dead, replays(e))
	}
	f.flags |= where | when(inTime, asked) | when(waits, waitsDead)
	f.out = max(f.out, replays(e))
	return f
}

// replays is an event's replaycount, as far as it is counted here.
func replays(e *event.Event) uint8 { return uint8(min(event.Replays(e), math.MaxUint8)) }

// mark adds a flag.
func (r *run) mark(root uuid.UUID, f flags) {
	now := r.roots[root]
	now.flags |= f
	r.roots[root] = now
}

func when(b bool, f flags) flags {
	if b {
		return f
	}
	return 0
}

// lookUp looks for the documents that are pending. A document with the hash of another payload is not the event's.
func (r *run) lookUp(ctx context.Context) error {
	for len(r.pending) > 0 {
		refs := make([]search.Ref, len(r.pending))
		for i, p := range r.pending {
			refs[i] = p.ref
		}
		versions, err := r.versions(ctx, refs)
		if err != nil {
			return err
		}
		var again []pending
		for i, p := range r.pending {
			is := versions[i].Found && versions[i].Hash == p.hash && (p.dead || versions[i].Number >= p.version)
			switch {
			case is && p.dead:
				r.mark(p.root, inSearchDead)
			case is:
				r.mark(p.root, inSearch)
			case p.dead && versions[i].Found && !p.again:
				p.ref.ID, p.again = document.Distinct(p.ref.ID, p.hash), true
				again = append(again, p)
			case p.dead:
				r.mark(p.root, lacksDead)
			default:
				r.mark(p.root, lacksSearch)
			}
		}
		r.pending = append(r.pending[:0], again...)
	}
	return nil
}

// sum fills the report from the flags.
func (r *run) sum() {
	var gaps []Gap
	gap := func(root uuid.UUID, why Why) {
		r.report.GapCount++
		gaps = append(gaps, Gap{RootID: root.String(), Why: why})
	}
	rep := r.report
	for root, f := range r.roots {
		if f.flags&asked == 0 {
			continue
		}
		if f.flags&inRaw != 0 {
			rep.Raw++
			switch {
			case f.out < f.raw && f.flags&waitsRaw != 0:
				rep.Waiting++
			case f.out < f.raw:
				gap(root, ReplayLost)
			case f.flags&inEnriched != 0:
				rep.Enriched++
			case f.flags&(inDead|inDeadAfter) != 0:
				rep.Dead++
			case f.flags&waitsRaw != 0:
				rep.Waiting++
			default:
				gap(root, NotEnriched)
			}
		}
		if f.flags&followed != 0 {
			rep.Search.All++
			dead := f.flags&inDeadAfter != 0 && f.dead >= f.enriched // the letter that a replay was made of says nothing of the replay
			switch {
			case f.flags&inSearch != 0 && (f.flags&lacksSearch == 0 || dead):
				rep.Search.Found++
			case dead:
				rep.Search.Dead++
			case f.flags&waitsEnriched != 0:
				rep.Search.Waiting++
			default:
				gap(root, NotSearchable)
			}
		}
		if f.flags&(inDead|inDeadAfter) != 0 {
			rep.Letters.All++
			switch {
			case f.flags&lacksDead == 0 && f.flags&inSearchDead != 0:
				rep.Letters.Found++
			case f.flags&waitsDead != 0:
				rep.Letters.Waiting++
			default:
				gap(root, DeadNotFound)
			}
		}
	}
	slices.SortFunc(gaps, func(a, b Gap) int {
		if a.Why != b.Why {
			return strings.Compare(string(a.Why), string(b.Why))
		}
		return strings.Compare(a.RootID, b.RootID)
	})
	gaps = append(gaps, rep.Gaps...) // behind them, what is not landed
	rep.Gaps = append([]Gap{}, gaps[:min(len(gaps), r.o.MaxGaps)]...)
}

// remember leaves out of the forgotten partitions those of which Kafka has deleted nothing of the time: all that it has deleted was in the landing log before. Else a
// partition that retention has emptied, as of dead letters that are rare, would be forgotten for ever.
func (s *seen) remember(ctx context.Context, stage *Stage, from time.Time) error {
	if len(s.forgotten) == 0 {
		return nil
	}
	err := stage.Log(s.topicID).Back(ctx, func(e landing.Entry) (bool, error) {
		if !e.Time.Add(early).Before(from) {
			return true, nil
		}
		for _, p := range e.Partitions {
			if start, known := s.starts[p.Partition]; known && p.Broken == nil && p.Next >= start {
				s.forgotten = slices.DeleteFunc(s.forgotten, func(f int32) bool { return f == p.Partition })
			}
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("landing log of %s/%s: %w", stage.Name, s.topicID, err)
	}
	return nil
}

// deleted sums what the log says of the offsets that Kafka has deleted, as far back as the time.
func (s *seen) deleted(ctx context.Context, stage *Stage, from time.Time) (d Deleted, err error) {
	err = stage.Log(s.topicID).Back(ctx, func(e landing.Entry) (bool, error) {
		if e.Time.Add(early).Before(from) {
			return false, nil
		}
		for _, p := range e.Partitions {
			end := min(p.Next, s.starts[p.Partition])
			if !slices.Contains(s.forgotten, p.Partition) || p.From >= end {
				continue
			}
			d.Landed += end - p.From
			for _, r := range slices.Concat(p.Lost, p.Skipped) {
				if n := min(r.Last+1, end) - r.First; n > 0 {
					d.Landed -= n
					if slices.Contains(p.Lost, r) {
						d.Lost += n
					}
				}
			}
		}
		return true, nil
	})
	if err != nil {
		return d, fmt.Errorf("landing log of %s/%s: %w", stage.Name, s.topicID, err)
	}
	return d, nil
}

// former tells of the topics of the same name, made earlier, that were landed since the time.
func (r *run) former(ctx context.Context, stage *Stage, topicID string, from time.Time) error {
	if stage.TopicIDs == nil {
		return nil
	}
	ids, err := stage.TopicIDs(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if id == topicID {
			continue
		}
		err := stage.Log(id).Back(ctx, func(e landing.Entry) (bool, error) {
			if !e.Time.Add(early).Before(from) {
				r.report.Former = append(r.report.Former, Former{stage.Name, id, e.Time.UTC()})
			}
			return false, nil
		})
		if err != nil {
			return fmt.Errorf("landing log of %s/%s: %w", stage.Name, id, err)
		}
	}
	return nil
}

// truncated tells of the partitions of which Kafka lost the end since the time: their records are in no topic, though their receipts said durable and the log has them.
func (r *run) truncated(ctx context.Context, stage *Stage, topicID string, from time.Time) error {
	newest, told := true, map[int32]bool{}
	err := stage.Log(topicID).Back(ctx, func(e landing.Entry) (bool, error) {
		if !newest && e.Time.Add(early).Before(from) {
			return false, nil
		}
		for _, p := range e.Partitions {
			t := Truncated{stage.Name, p.Partition, p.From, e.Time.UTC(), p.Broken != nil}
			switch {
			case p.Broken != nil:
				t.Offset = min(p.Broken.Intact, p.Next)
			case p.Rewound == nil || e.Time.Add(early).Before(from):
				continue
			}
			if !told[p.Partition] { // the newest word, of an entry that broke and of one that went on
				told[p.Partition] = true
				r.report.Truncated = append(r.report.Truncated, t)
			}
		}
		newest = false
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("landing log of %s/%s: %w", stage.Name, topicID, err)
	}
	return nil
}

// place is where a record lies.
type place struct {
	partition int32
	offset    int64
}

// notLanded names the events of records that no entry of the log has, lost, skipped or missing. They are counted by [Landed].
func (r *run) notLanded(ctx context.Context, stage *Stage, places []place) error {
	for _, p := range places {
		rec, err := stage.Topic.Record(ctx, p.partition, p.offset)
		if err != nil && !errors.Is(err, source.ErrGone) {
			return fmt.Errorf("reading %s/%d@%d: %w", stage.Name, p.partition, p.offset, err)
		}
		r.report.Gaps = append(r.report.Gaps, Gap{RootID: rec.Root(), Why: NotLanded, Place: fmt.Sprintf("%s/%d@%d", stage.Name, p.partition, p.offset)})
	}
	return nil
}

// landed compares the records of the time with the log of their topic id, and returns where the first of those lie that it does not have.
func (s *seen) landed(ctx context.Context, stage *Stage, most int) (Landed, []place, error) {
	l := Landed{Topic: stage.Name, TopicID: s.topicID}
	first := map[int32]int64{}
	for p, spans := range s.records {
		for _, s := range spans {
			l.Records += s.last - s.first + 1
		}
		first[p] = spans[0].first
	}
	if l.Records == 0 {
		return l, nil, nil
	}
	from, end := map[int32]int64{}, map[int32]int64{} // what the log's entries cover of each partition, without a hole
	bad := map[int32][]landing.Range{}
	open := maps.Clone(first)
	err := stage.Log(s.topicID).Back(ctx, func(e landing.Entry) (bool, error) {
		for _, p := range e.Partitions {
			if _, known := end[p.Partition]; !known {
				end[p.Partition], from[p.Partition] = p.Next, p.Next
				if p.Broken != nil { // what lies behind may be other records than those that were landed
					end[p.Partition] = min(p.Next, p.Broken.Intact)
				}
			}
			for _, r := range slices.Concat(p.Lost, p.Skipped) {
				// Where Kafka gave offsets out again, the newer entry speaks of what is there now.
				if r.Last = min(r.Last, from[p.Partition]-1); r.First <= r.Last {
					bad[p.Partition] = append(bad[p.Partition], r)
				}
			}
			from[p.Partition] = min(from[p.Partition], p.From)
			if at, asked := open[p.Partition]; asked && p.From <= at {
				delete(open, p.Partition)
			}
		}
		return len(open) > 0, nil
	})
	if err != nil {
		return l, nil, fmt.Errorf("landing log of %s/%s: %w", stage.Name, s.topicID, err)
	}
	var places []place
	for _, p := range slices.Sorted(maps.Keys(s.records)) {
		for _, s := range s.records[p] {
			for offset := s.first; offset <= s.last; offset++ {
				i := slices.IndexFunc(bad[p], func(r landing.Range) bool { return r.First <= offset && offset <= r.Last })
				switch {
				case offset >= end[p]:
					l.Waiting++
				case offset < from[p]:
					l.Missing++
				case i < 0:
					l.Landed++
				case bad[p][i].Reason == landing.ReasonRetention || bad[p][i].Reason == landing.ReasonBeforeFirst:
					l.Lost++
				default:
					l.Skipped++
				}
				if (offset < from[p] || i >= 0) && offset < end[p] && len(places) < most {
					places = append(places, place{p, offset})
				}
			}
		}
	}
	return l, places, nil
}
