package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/shared/contract"
	"millrace/shared/delivery"
	"millrace/shared/document"
	"millrace/shared/event"
	"millrace/shared/mask"
	"millrace/shared/search"
	"millrace/shared/telemetry"
)

// checkedFor is how long a template that was seen counts as there. One that somebody deletes is back after that time at the
// latest; a new day's index is always checked.
const checkedFor = 10 * time.Minute

// index is Elasticsearch as the handler needs it; search.Client is one. Its methods block, may be called concurrently and may
// be repeated; an error of any is an outage, except for a search.NameTakenError, a search.TemplateError, a search.IndexError and a search.MappingError.
type index interface {
	document.Names
	Bulk(ctx context.Context, ops []search.Operation) ([]search.Result, error)
	Hashes(ctx context.Context, refs []search.Ref) ([]search.Stored, error)
	Versions(ctx context.Context, refs []search.Ref) ([]search.Version, error)
	EnsureEnriched(ctx context.Context, versions []*contract.Contract) error
	EnsureDead(ctx context.Context) error
	PrepareEnriched(ctx context.Context, index string, versions []*contract.Contract) error
	PrepareDead(ctx context.Context, index string) error
	ExtendEnriched(ctx context.Context, versions []*contract.Contract) error
	ExtendDead(ctx context.Context) error
}

// handler writes events to the index. It changes no event and keeps none.
type handler struct {
	index   index
	models  atomic.Pointer[document.Models]
	clock   func() time.Time
	logger  *slog.Logger
	results *prometheus.CounterVec
	// exhausted counts what Knative gave up, which no other function sees.
	exhausted *prometheus.CounterVec

	contracts atomic.Pointer[contract.Set] // of which models are

	// reload looks for contracts that are new; nil does not. See unknown.
	reload   func(context.Context) (changed bool, err error)
	interval time.Duration // at which contracts are looked at
	wait     time.Duration // for the contract of an event's MODEL

	refused *prometheus.CounterVec

	mu      sync.Mutex
	checked map[string]sight // by index
	// extended are the contracts whose fields the indexes that are there have, as far as they take them; under the zero key those of dead letters, which no contract has.
	extended map[document.ModelKey][]*contract.Contract
	missing  map[document.UnknownModelError]sighting // versions that events had and no contract has

	key      document.Key // to mask with
	unmasked prometheus.Counter
	warned   time.Time // when it was last said that there is no key
}

func newHandler(i index, clock func() time.Time, logger *slog.Logger, r prometheus.Registerer) *handler {
	h := &handler{
		index: i, clock: clock, logger: logger, checked: map[string]sight{}, missing: map[document.UnknownModelError]sighting{},
		key: mask.Settings{}.Open().Key,
		unmasked: telemetry.Counter(r, "millrace_mask_waiting_total",
			"Deliveries of events that wait since their contract masks personal data and there is no key to do so: alarm above 0.").WithLabelValues(),
		extended: map[document.ModelKey][]*contract.Contract{},
		refused: telemetry.Counter(r, "millrace_search_mappings_refused_total",
			"Indexes that are there and did not take added fields, or could not be asked, by kind (enriched, dead), each time that they are to.", "kind"),
		results: telemetry.Counter(r, "millrace_search_events_total",
			"Events by kind (enriched, dead, unusable) and outcome (done, failed, retry, dead).", "kind", "outcome"),
		exhausted: telemetry.Counter(r, "millrace_search_exhausted_total",
			"Dead letters written that came by a Trigger's dead letter sink (delivery_exhausted), by the stage that could not be reached (collect, enrich, load-search, other): alarm above 0.", "stage"),
	}
	h.models.Store(&document.Models{})
	h.contracts.Store(new(contract.Set))
	telemetry.Gauge(r, "millrace_contract_files_invalid", "Contract files that are wrong and therefore not in use: alarm above 0.", func() float64 {
		return float64(len(h.contracts.Load().Invalid()))
	})
	return h
}

// Handle writes a batch. Of each event it says: Done where its document is in the index, with this payload; Dead where it never
// can be; Retry where Elasticsearch is at fault; Failed where it refused this one document for a reason that may pass.
func (h *handler) Handle(ctx context.Context, events []*event.Event) delivery.Outcomes {
	b := &batch{h: h, events: events, out: delivery.NewOutcomes(len(events)), docs: make([]*document.Document, len(events))}
	var open []int
	known := *h.models.Load()
	refresh := sync.OnceValue(func() error { return h.refresh(ctx) })
	key := sync.OnceValues(h.key) // one for the batch
	for i, e := range events {
		d, err := document.New(h.index, known, key, e)
		var unknown *document.UnknownModelError
		if errors.As(err, &unknown) {
			if err := refresh(); err != nil { // nobody knows then whether there is a contract
				b.out.RetryAfter(i, err, h.interval)
				continue
			}
			known = *h.models.Load()
			d, err = document.New(h.index, known, key, e)
		}
		switch {
		case errors.As(err, &unknown):
			err = h.unknown(unknown)
		case errors.Is(err, mask.ErrNoKey):
			err = h.keyless(e, err)
		}
		if err != nil {
			b.out.Settle(i, err)
			continue
		}
		b.docs[i] = d
		open = append(open, i)
	}
	open = b.ensure(ctx, open)
	// Once as it is; a dead letter then perhaps under an id of its own, and perhaps without its payload.
	for range 3 {
		if len(open) == 0 {
			break
		}
		open = b.write(ctx, open)
	}
	for _, i := range open {
		b.out.Failed(i, errors.New("no way left to write the dead letter"))
	}
	h.report(b)
	return b.out
}

// batch is one Handle under way.
type batch struct {
	h      *handler
	events []*event.Event
	out    delivery.Outcomes
	docs   []*document.Document // nil for an event that cannot be one
}

// ensure makes sure of the templates before the first write to an index, and returns the documents whose template is there.
func (b *batch) ensure(ctx context.Context, open []int) (ready []int) {
	errs := map[string]error{} // nil: seen
	for _, i := range open {
		d := b.docs[i]
		err, ok := errs[d.Index]
		if !ok {
			err = b.h.ensure(ctx, d)
			errs[d.Index] = err
		}
		var taken *search.NameTakenError
		var refused *search.TemplateError
		switch {
		case err == nil:
			ready = append(ready, i)
		case errors.As(err, &taken):
			b.out.Dead(i, event.CodeSearchRejected, err)
		case errors.As(err, &refused):
			// Others pass, so it is their contract and no outage: they must not hold the others' slots for hours.
			b.out.Failed(i, err)
		default:
			b.retry(i, err)
		}
	}
	return ready
}

func (h *handler) ensure(ctx context.Context, d *document.Document) error {
	if h.seen(d.Index, checkedFor) {
		return nil
	}
	var err error
	if d.Kind == document.Dead {
		err = h.index.EnsureDead(ctx)
	} else {
		err = h.index.EnsureEnriched(ctx, d.Model.Versions)
	}
	if err != nil {
		return err
	}
	return h.prepare(ctx, d, h.extend(ctx, d))
}

// extend gives the indexes that are there, of which d's may be one, the fields that were added since they were made. What comes of it holds nothing back: without it
// documents are written as before, and an added field is found from the next day's index on. It reports whether it asked, and said what came of it.
func (h *handler) extend(ctx context.Context, d *document.Document) (asked bool) {
	var key document.ModelKey
	if d.Kind == document.Enriched {
		key = document.ModelKey{EventType: d.Model.EventType, Model: d.Model.Model}
	}
	h.mu.Lock()
	before, done := h.extended[key]
	h.extended[key] = d.Model.Versions // before they do: of two batches one is enough
	h.mu.Unlock()
	if done && slices.Equal(before, d.Model.Versions) {
		return false
	}
	var err error
	if d.Kind == document.Dead {
		err = h.index.ExtendDead(ctx)
	} else {
		err = h.index.ExtendEnriched(ctx, d.Model.Versions)
	}
	if err == nil {
		return true
	}
	var outage *search.OutageError
	if errors.As(err, &outage) {
		h.mu.Lock()
		delete(h.extended, key) // with the template's next check
		h.mu.Unlock()
	}
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // one for each index
		all = joined.Unwrap()
	}
	h.refused.WithLabelValues(string(d.Kind)).Add(float64(len(all)))
	h.logger.Warn("fields of the contract cannot be searched in indexes that are there", "event_type", key.EventType, "model", key.Model,
		"indexes", len(all), "first_err", all[0])
	return true
}

// write sends the open documents, settles what can be settled, and returns those to be written again in another form. Replays come last, when it is known what they replace.
func (b *batch) write(ctx context.Context, open []int) (again []int) {
	var first, replays []int
	for _, i := range open {
		if b.docs[i].Version == 0 {
			first = append(first, i)
		} else {
			replays = append(replays, i)
		}
	}
	again = b.send(ctx, first)
	return append(again, b.send(ctx, b.replacing(ctx, replays))...)
}

// replacing settles the replays that would replace another payload, and returns the rest. Elasticsearch compares versions alone, and that an event is a replay is nothing but
// two attributes, which whoever can write to a Broker or a topic can set.
func (b *batch) replacing(ctx context.Context, replays []int) (rest []int) {
	if len(replays) == 0 {
		return nil
	}
	refs := make([]search.Ref, len(replays))
	for n, i := range replays {
		refs[n] = search.Ref{Index: b.docs[i].Index, ID: b.docs[i].ID}
	}
	stored, err := b.h.index.Versions(ctx, refs)
	beside := make(map[search.Ref]string, len(replays)) // hashes of those that are written now
	for n, i := range replays {
		d := b.docs[i]
		if err != nil {
			b.retry(i, err)
			continue
		}
		if stored[n].Found && stored[n].Hash != d.Hash {
			b.out.Dead(i, event.CodeIdentityConflict, fmt.Errorf("the event says that it is a replay, and another payload is in %s under the same root id", d.Index))
			continue
		}
		if hash, ok := beside[refs[n]]; ok && hash != d.Hash {
			b.out.Retry(i, errors.New("another payload is being written under the same root id"))
			continue
		}
		beside[refs[n]] = d.Hash
		rest = append(rest, i)
	}
	return rest
}

// send is write without a look at what is there.
func (b *batch) send(ctx context.Context, open []int) (again []int) {
	if len(open) == 0 {
		return nil
	}
	ops := make([]search.Operation, len(open))
	for n, i := range open {
		ops[n] = b.docs[i].Operation
	}
	results, err := b.h.index.Bulk(ctx, ops)
	took, elsewhere := b.h.took(ops, results), elsewhere(ops, results)
	doubts := map[string]error{}
	var conflicts []int
	for n, i := range open {
		if n >= len(results) {
			b.retry(i, cmp.Or(err, errors.New("no result")))
			continue
		}
		d := b.docs[i]
		switch r := results[n]; r.Status {
		case search.Done:
			b.out.Done(i)
		case search.Conflict:
			conflicts = append(conflicts, i)
		case search.Permanent, search.Refused:
			doubt, ok := doubts[d.Index]
			if !ok {
				doubt = b.h.doubt(ctx, d)
				doubts[d.Index] = doubt
			}
			switch {
			case doubt != nil:
				b.retry(i, fmt.Errorf("%w (the document was refused: %w)", doubt, r.Err))
			case r.Status == search.Refused && took[d.Index]:
				b.out.Failed(i, r.Err)
			case r.Status == search.Refused:
				b.retryAlone(i, fmt.Errorf("index %s took no document since it refused one: %w", d.Index, r.Err), elsewhere(d.Index))
			case b.refused(i, r.Err):
				again = append(again, i)
			}
		case search.Unavailable:
			b.retryAlone(i, cmp.Or(r.Err, err), r.Own && elsewhere(d.Index))
		}
	}
	return append(again, b.compare(ctx, conflicts)...)
}

// compare settles the documents whose id is there already. The same hash is the same event: a redelivery, or a replay that a newer one
// overtook. Another is another event under the same name.
func (b *batch) compare(ctx context.Context, conflicts []int) (again []int) {
	if len(conflicts) == 0 {
		return nil
	}
	refs := make([]search.Ref, len(conflicts))
	for n, i := range conflicts {
		refs[n] = search.Ref{Index: b.docs[i].Index, ID: b.docs[i].ID}
	}
	stored, err := b.h.index.Hashes(ctx, refs)
	for n, i := range conflicts {
		d := b.docs[i]
		switch {
		case err != nil:
			b.retry(i, err)
		case stored[n].Err != nil:
			b.retry(i, stored[n].Err)
		case !stored[n].Found:
			b.out.Retry(i, errors.New("the document it conflicts with is gone"))
		case stored[n].Hash == d.Hash:
			b.out.Done(i)
		case d.Kind == document.Enriched:
			b.out.Dead(i, event.CodeIdentityConflict, fmt.Errorf("another payload is in %s under the same root id", d.Index))
		case d.Distinct:
			b.out.Failed(i, fmt.Errorf("another payload is in %s under the same id and hash", d.Index))
		default:
			d.Distinguish()
			again = append(again, i)
		}
	}
	return again
}

// refused settles a document that Elasticsearch will never take as it is. It reports whether there is another form to try.
func (b *batch) refused(i int, err error) (again bool) {
	d := b.docs[i]
	switch {
	case d.Kind == document.Enriched:
		b.out.Dead(i, event.CodeSearchRejected, err)
		return false
	case d.Bare:
		// It is on events.dead and in the lake; to make it a dead letter again would send it round for ever.
		b.out.Failed(i, fmt.Errorf("refused without its payload, too: %w", err))
		return false
	}
	bare := document.WithoutPayload(b.h.index, d)
	if d.Distinct {
		bare.Distinguish()
	}
	b.docs[i] = bare
	return true
}

// retry settles an outage, with the wait that Elasticsearch asked for. An index that only a person can mend has its events wait by themselves: those of others go on beside any number of them.
func (b *batch) retry(i int, err error) {
	var outage *search.OutageError
	var index *search.IndexError
	switch {
	case errors.As(err, &outage) && outage.After > 0:
		b.out.Hold(i, err, outage.After)
	case errors.As(err, &index):
		b.out.RetryAfter(i, err, b.h.interval)
	default:
		b.out.Retry(i, err)
	}
}

// retryAlone is retry; where it is one index's own fault, the event waits by itself.
func (b *batch) retryAlone(i int, err error, own bool) {
	if own {
		b.out.RetryAfter(i, err, b.h.interval)
		return
	}
	b.retry(i, err)
}

// report counts a batch and logs what was given up, one line for each code, with the first event's root id and reason. What comes
// again, the intake logs.
func (h *handler) report(b *batch) {
	type group struct{ first, count int }
	dead := map[event.Code]group{}
	for i := range b.out {
		o := b.out.Of(i)
		kind := "unusable"
		if b.docs[i] != nil {
			kind = string(b.docs[i].Kind)
		}
		h.results.WithLabelValues(kind, o.Status.String()).Inc()
		if kind == string(document.Dead) && o.Status == delivery.Done && event.Code(event.Attr(b.events[i], event.FailureCode)) == event.CodeDeliveryExhausted {
			h.exhausted.WithLabelValues(exhaustedAt(event.Attr(b.events[i], event.FailureStage))).Inc()
		}
		if o.Status == delivery.Dead {
			g, ok := dead[o.Code]
			if !ok {
				g.first = i
			}
			g.count++
			dead[o.Code] = g
		}
	}
	for code, g := range dead {
		h.logger.Warn("events given up", "code", string(code), "events", g.count, "of", len(b.out),
			"first_root_id", event.Attr(b.events[g.first], event.RootID), "first_err", b.out[g.first].Err)
	}
}

// exhaustedAt is a stage as a label: whoever can write to events.dead can name others.
func exhaustedAt(stage string) string {
	switch stage {
	case "collect", "enrich", "load-search":
		return stage
	}
	return "other"
}
