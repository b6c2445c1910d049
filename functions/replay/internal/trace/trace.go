// Package trace follows one event through the pipeline by durable state: its records in the topics, the documents that search shows, and the rows in the lake.
//
// It reads each topic from a time to its end, so it costs what that many records cost. It says nothing of what Kafka has forgotten but that it has; documents and the
// landing log are still found then.
package trace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"millrace/functions/replay/internal/reconcile"
	"millrace/functions/replay/internal/source"
	"millrace/shared/archive"
	"millrace/shared/document"
	"millrace/shared/event"
	"millrace/shared/landing"
	"millrace/shared/search"
	"millrace/shared/tracecontext"
)

// Documents is search. Find returns the documents of a root id, refreshed ones only; Versions sees all.
type Documents interface {
	reconcile.Documents
	Find(ctx context.Context, rootID string) ([]search.Found, error)
}

// Objects are a bucket's. Get returns an object's bytes.
type Objects interface {
	Get(ctx context.Context, key string) ([]byte, error)
}

// Stage is a topic with the bucket in which it is landed.
type Stage struct {
	reconcile.Stage
	// Reader is the function that reads the topic on.
	Reader  string
	Objects Objects
}

// Options say what to follow.
type Options struct {
	RootID string
	// From is the time from which topics are read; the zero Time goes by the documents found, or [Back] where there are none.
	From   time.Time
	Now    time.Time
	Stages []Stage // raw, enriched, dead
	// Why says why an event of raw that waits for enrich is not taken on by today's contracts, "" where they would; nil: nobody knows.
	Why       func(*event.Event) string
	Documents Documents
	Progress  func(topic string, done int64) // may be nil
}

// Back is how far back topics are read for an event that search does not know.
const Back = 24 * time.Hour

// early is how much before its collectortime an event's record may be dated by another clock.
const early = 10 * time.Minute

// Way is all that was found of an event.
type Way struct {
	RootID string    `json:"root_id"`
	From   time.Time `json:"from"` // the time from which the topics were read
	Type   string    `json:"event_type,omitempty"`
	Source string    `json:"source,omitempty"`
	ID     string    `json:"id,omitempty"`
	// TraceID is of the trace in which the event was created, where its extension traceparent says so.
	TraceID string `json:"trace_id,omitempty"`
	Steps   []Step `json:"steps"`
	// Documents are those that search shows beside the ones of Steps.
	Documents []Document `json:"other_documents"`
	Forgotten []string   `json:"forgotten"` // topics of which Kafka has deleted records since From
	// Verdict says in a sentence where the event is.
	Verdict string `json:"verdict"`
}

// Step is one record of the event in a topic.
type Step struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Time      time.Time `json:"time"`
	Version   string    `json:"schema_version,omitempty"`
	Hash      string    `json:"data_hash"`
	Replays   int       `json:"replay_count,omitempty"`
	ReplayID  string    `json:"replay_id,omitempty"`
	Failure   *Failure  `json:"failure,omitempty"`
	// Reader is who reads it on, Waits whether the record is behind its group's committed offset, Before how many records of the partition are before it then.
	Reader   string    `json:"reader"`
	Waits    bool      `json:"waits,omitempty"`
	Before   int64     `json:"before,omitempty"`
	Why      string    `json:"why,omitempty"`      // it waits, where that is known: a contract that is not there
	Document *Document `json:"document,omitempty"` // of an enriched event or a dead letter
	Landed   *Landed   `json:"landed,omitempty"`   // nil: not drained yet
	Lost     string    `json:"lost,omitempty"`     // why the landing log has no row of it, where it says so

	stage   int  // index of the topic in Options.Stages
	unknown bool // nobody knows how far its reader is
}

// Failure is why the event is a dead letter.
type Failure struct {
	Stage   string `json:"stage"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// Document is what search has under an index and an id.
type Document struct {
	Index   string `json:"index"`
	ID      string `json:"id"`
	Found   bool   `json:"found"`
	Version int64  `json:"version,omitempty"`
	Other   bool   `json:"other,omitempty"` // it is of another payload
}

// Landed is the row of a record in the lake.
type Landed struct {
	Sequence int64     `json:"sequence"` // of the entry in the landing log
	Drain    string    `json:"drain"`
	Time     time.Time `json:"time"`
	Object   string    `json:"object"`
	Row      int64     `json:"row"` // from 0
}

// Follow returns the event's way. The error says what could not be read.
func Follow(ctx context.Context, o Options) (*Way, error) {
	w := &Way{RootID: o.RootID, From: o.From, Steps: []Step{}, Documents: []Document{}, Forgotten: []string{}}
	shown, err := o.Documents.Find(ctx, o.RootID)
	if err != nil {
		return nil, err
	}
	if w.From.IsZero() {
		var collected []time.Time
		for _, d := range shown {
			if !d.Collected.IsZero() {
				collected = append(collected, d.Collected.Add(-early))
			}
		}
		if len(collected) == 0 {
			collected = append(collected, o.Now.Add(-Back))
		}
		w.From = slices.MinFunc(collected, time.Time.Compare)
	}
	for i, s := range o.Stages {
		if err := w.scan(ctx, &o, s, i); err != nil {
			return nil, err
		}
	}
	for _, d := range shown {
		known := slices.ContainsFunc(w.Steps, func(s Step) bool { return s.Document != nil && s.Document.Index == d.Index && s.Document.ID == d.ID })
		if !known {
			w.Documents = append(w.Documents, Document{Index: d.Index, ID: d.ID, Found: true, Version: d.Version})
		}
	}
	w.Verdict = w.verdict()
	return w, nil
}

func (w *Way) scan(ctx context.Context, o *Options, s Stage, stage int) error {
	var events []*event.Event
	first, done := len(w.Steps), int64(0)
	origin, forgotten, err := s.Topic.Scan(ctx, w.From, func(r source.Record) error {
		if done++; o.Progress != nil && done%10_000 == 0 {
			o.Progress(s.Name, done)
		}
		if r.Root() != w.RootID {
			return nil
		}
		e := r.Event
		w.Type, w.Source, w.ID = e.Type(), e.Source(), e.ID()
		if id := tracecontext.Of(e).TraceID(); id != "" {
			w.TraceID = id
		}
		step := Step{
			Topic: s.Name, Partition: r.Partition, Offset: r.Offset, Time: r.Time.UTC(), Version: event.Attr(e, event.SchemaVersion), Hash: event.Attr(e, event.DataHash),
			Replays: event.Replays(e), ReplayID: event.Attr(e, event.ReplayID), Reader: s.Reader, stage: stage, unknown: len(s.Committed) == 0,
		}
		if committed, known := s.Committed[r.Partition]; len(s.Committed) > 0 && (!known || r.Offset >= committed) {
			step.Waits, step.Before = true, r.Offset-committed
			if stage == 0 && o.Why != nil {
				step.Why = o.Why(e)
			}
		}
		if event.IsDead(e) {
			code := event.Attr(e, event.FailureCode)
			step.Failure = &Failure{event.Attr(e, event.FailureStage), code, event.Attr(e, event.FailureMessage), event.Code(code).Hint()}
		}
		w.Steps, events = append(w.Steps, step), append(events, e)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading %s: %w", s.Name, err)
	}
	if len(forgotten) > 0 {
		w.Forgotten = append(w.Forgotten, s.Name)
	}
	for i, e := range events {
		step := &w.Steps[first+i]
		if err := step.look(ctx, o.Documents, e); err != nil {
			return err
		}
		if err := step.land(ctx, s, origin.ID); err != nil {
			return err
		}
	}
	return nil
}

// look finds the document of an enriched event or a dead letter.
func (s *Step) look(ctx context.Context, documents Documents, e *event.Event) error {
	if s.Failure == nil && event.Attr(e, event.Stage) != event.StageEnriched {
		return nil
	}
	ref, err := document.Ref(documents, e)
	if err != nil {
		return nil //nolint:nilerr // it can be no document, of which load-search makes a dead letter: the next step
	}
	refs := []search.Ref{ref}
	if s.Failure != nil {
		refs = append(refs, search.Ref{Index: ref.Index, ID: document.Distinct(ref.ID, s.Hash)})
	}
	versions, err := documents.Versions(ctx, refs)
	if err != nil {
		return err
	}
	if len(versions) != len(refs) {
		return errors.New("search answered for another number of documents")
	}
	at := 0
	if len(refs) == 2 && versions[1].Found {
		at = 1
	}
	v := versions[at]
	s.Document = &Document{Index: refs[at].Index, ID: refs[at].ID, Found: v.Found, Version: v.Number, Other: v.Found && v.Hash != s.Hash}
	return nil
}

// land finds the row in the lake.
func (s *Step) land(ctx context.Context, stage Stage, topicID string) error {
	var objects []landing.Object
	var landed *Landed
	err := stage.Log(topicID).Back(ctx, func(e landing.Entry) (bool, error) {
		for _, p := range e.Partitions {
			if p.Partition != s.Partition || s.Offset >= p.Next {
				continue
			}
			if p.Broken != nil && s.Offset >= p.Broken.Intact {
				return false, nil // the log may have another record of that offset; this one waits until somebody says how to go on
			}
			if s.Offset < p.From {
				return true, nil // an older entry has it
			}
			for _, r := range slices.Concat(p.Lost, p.Skipped) {
				if r.First <= s.Offset && s.Offset <= r.Last {
					s.Lost = r.Reason
					return false, nil
				}
			}
			landed = &Landed{Sequence: e.Sequence, Drain: e.Drain, Time: e.Time}
			objects = e.Objects
			return false, nil
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("landing log of %s/%s: %w", stage.Name, topicID, err)
	}
	for _, o := range objects {
		body, err := stage.Objects.Get(ctx, o.Key)
		if err != nil {
			return err
		}
		row, found, err := archive.Locate(body, s.Partition, s.Offset)
		if err != nil {
			return fmt.Errorf("object %s: %w", o.Key, err)
		}
		if found {
			landed.Object, landed.Row = o.Key, row
			s.Landed = landed
			return nil
		}
	}
	if landed != nil {
		s.Lost = fmt.Sprintf("entry %d covers its offset, and none of its %d objects has its row", landed.Sequence, len(objects))
	}
	return nil
}

// settled reports whether the record itself tells where the event is: it waits, or search shows it.
func (s *Step) settled() bool {
	return s.Waits || s.Document != nil && s.Document.Found && !s.Document.Other
}

// inLake says how to find what Kafka has forgotten.
func (w *Way) inLake() string {
	return fmt.Sprintf("The lake may hold it: replay plan --lake --source raw --root-id %s --from %s, without a file, sends nothing and says what it finds.", w.RootID, w.From.UTC().Format(time.DateOnly))
}

// verdict says where the event is, by its last record.
func (w *Way) verdict() string {
	if len(w.Steps) == 0 {
		switch {
		case len(w.Documents) > 0:
			return "Search shows it; Kafka holds no record of it any more. " + w.inLake()
		case len(w.Forgotten) > 0:
			return "There is no trace of it in what Kafka still holds, nor in search: --from an earlier time does not help; its time may be forgotten. " + w.inLake()
		}
		return "There is no trace of it since " + w.From.UTC().Format(time.RFC3339) + ", nor in search: --from looks further back."
	}
	last := slices.MaxFunc(w.Steps, func(a, b Step) int { return a.Time.Compare(b.Time) })
	// Each stage dates its records by its own clock: what came of a record may be dated before it.
	for _, s := range w.Steps {
		if !last.settled() && s.stage > last.stage && s.Hash == last.Hash && s.Replays == last.Replays && last.Time.Sub(s.Time) < early {
			last = s
		}
	}
	switch {
	case last.Document != nil && last.Document.Found && !last.Document.Other && last.Failure != nil:
		return fmt.Sprintf("It is a dead letter of %s, %s, and search shows it as one. %s", last.Failure.Stage, last.Failure.Code, last.Failure.Hint)
	case last.Document != nil && last.Document.Found && !last.Document.Other:
		return "It came all the way: search shows it."
	case last.Waits && last.Why != "":
		return fmt.Sprintf("It waits for %s: %s. It goes on by itself once that is mended.", last.Reader, last.Why)
	case last.Waits && last.Before > 0:
		return fmt.Sprintf("It waits for %s, behind %d records of %s/%d.", last.Reader, last.Before, last.Topic, last.Partition)
	case last.Waits:
		return fmt.Sprintf("It waits for %s: it is the next one, or at work.", last.Reader)
	case last.unknown:
		return fmt.Sprintf("Nothing came of it behind %s. Whether %s has read it is not known, since its group has no committed offset: --group names another.", last.Topic, last.Reader)
	default:
		return fmt.Sprintf("It is missing behind %s: %s has read past it, and nothing came of it.", last.Topic, last.Reader)
	}
}
