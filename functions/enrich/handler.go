package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/shared/contract"
	"millrace/shared/delivery"
	"millrace/shared/event"
	"millrace/shared/kafka"
	"millrace/shared/telemetry"
)

// enricher holds events against their contracts, enriches them and publishes the result to sink, a batch in one call. An event is Done once the
// sink confirmed it, Dead where it would fail again in the same way, and Retry where the sink failed. Events are not changed.
type enricher struct {
	sink    delivery.Publisher
	tables  map[string]*table
	logger  *slog.Logger
	current atomic.Pointer[plans]

	events  *prometheus.CounterVec
	missing *prometheus.CounterVec
	reloads *prometheus.CounterVec
}

// plans is a set of contracts with everything in it bound.
type plans struct {
	set        *contract.Set
	byContract map[*contract.Contract]*plan
	schemas    map[*contract.Contract]*url.URL // of enriched events
}

func newEnricher(sink delivery.Publisher, tables map[string]*table, logger *slog.Logger, r prometheus.Registerer) *enricher {
	return &enricher{
		sink: sink, tables: tables, logger: logger,
		events: telemetry.Counter(r, "millrace_enrich_events_total",
			"Events handled, by outcome (enriched, dead, retry) and failure code; a repeated delivery counts again.", "outcome", "code"),
		missing: telemetry.Counter(r, "millrace_enrich_lookups_missed_total", "Fields left null because a step's key was missing, by event type.", "type"),
		reloads: telemetry.Counter(r, "millrace_enrich_contract_reloads_total", "Sets of contracts read after the start, by result (taken, refused).", "result"),
	}
}

// accept takes a set of contracts into use, unless a step in it cannot work.
func (h *enricher) accept(set *contract.Set) error {
	p := &plans{set: set, byContract: map[*contract.Contract]*plan{}, schemas: map[*contract.Contract]*url.URL{}}
	var errs []error
	for _, c := range set.All() {
		bound, err := bind(c, h.tables)
		if err != nil {
			errs = append(errs, err)
		}
		schema, err := url.Parse(c.EnrichedURI())
		if err != nil {
			errs = append(errs, fmt.Errorf("URI of %s %s: %w", c.EventType, c.Version, err))
		}
		p.byContract[c], p.schemas[c] = bound, schema
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	h.current.Store(p)
	return nil
}

// reloaded reports what became of contracts that changed while the function runs.
func (h *enricher) reloaded(_ bool, err error) {
	if err != nil {
		h.reloads.WithLabelValues("refused").Inc()
		h.logger.Error("changed contracts are not used; the ones before stay", "error", err)
		return
	}
	h.reloads.WithLabelValues("taken").Inc()
	h.logger.Info("contracts read again", "contracts", len(h.current.Load().set.All()))
}

// Handle implements [delivery.Handler]. All events of a batch see one set of contracts.
func (h *enricher) Handle(ctx context.Context, events []*event.Event) delivery.Outcomes {
	out := delivery.NewOutcomes(len(events))
	p := h.current.Load()
	enriched := make([]*event.Event, 0, len(events))
	of := make([]int, 0, len(events)) // enriched[n] comes from events[of[n]]
	for i, e := range events {
		result, missed, f := p.enrich(e)
		if f != nil {
			out.Dead(i, f.code, f.err)
			h.events.WithLabelValues("dead", string(f.code)).Inc()
			continue
		}
		if missed > 0 {
			h.missing.WithLabelValues(e.Type()).Add(float64(missed))
		}
		enriched, of = append(enriched, result), append(of, i)
	}
	if len(enriched) == 0 {
		return out
	}
	errs := h.sink.Publish(ctx, enriched)
	var failed error
	retries, good := 0, 0
	for n, i := range of {
		err := errNoResult
		if n < len(errs) {
			err = errs[n]
		}
		switch {
		case err == nil:
			out.Done(i)
			good++
		case errors.Is(err, kafka.ErrTooLarge):
			out.Dead(i, event.CodeTooLarge, errors.New("the event with its enrichment is larger than Kafka takes"))
			h.events.WithLabelValues("dead", string(event.CodeTooLarge)).Inc()
		default:
			out.Retry(i, fmt.Errorf("publish enriched event %s: %w", event.Attr(enriched[n], event.RootID), err))
			retries, failed = retries+1, err
		}
	}
	h.events.WithLabelValues("enriched", "").Add(float64(good))
	if retries > 0 {
		h.events.WithLabelValues("retry", "").Add(float64(retries))
		h.logger.Warn("enriched events not confirmed; they will come again", "events", retries, "of", len(events), "error", failed)
	}
	return out
}

var errNoResult = errors.New("the sink gave no result")

// failure is why an event is a dead letter.
type failure struct {
	code event.Code
	err  error
}

// enrich returns the enriched form of e, and how many steps missed their key. It is a pure function of the event and the contracts, so an
// event that is delivered twice gives the same bytes twice.
func (p *plans) enrich(e *event.Event) (*event.Event, int, *failure) {
	payload, leftovers, f := provenance(e)
	if f != nil {
		return nil, 0, f
	}
	c, assumed, f := p.resolve(e)
	if f != nil {
		return nil, 0, f
	}
	if len(payload) == 0 {
		return nil, 0, &failure{event.CodeNotJSON, errors.New("the event has no data")}
	}
	r, err := c.Inspect(payload)
	if err != nil {
		return nil, 0, &failure{event.CodeNotJSON, err}
	}
	if len(r.Violations) > 0 {
		return nil, 0, &failure{event.CodeContractViolation, errors.New(describe(r))}
	}
	added, missed, err := p.byContract[c].enrichment(r.Keys)
	if err != nil {
		return nil, 0, &failure{event.CodeEnrichmentFailed, err}
	}
	// The attributes are copied and the data replaced: e.Clone would copy the data, too.
	out := &event.Event{Context: e.Context.Clone(), DataEncoded: event.EnrichedData(payload, added)}
	err = errors.Join(
		out.Context.SetDataSchema(p.schemas[c].String()),
		out.Context.SetDataContentType("application/json"),
		out.Context.SetExtension(event.Stage, event.StageEnriched),
	)
	if event.Attr(e, event.SchemaVersion) == "" {
		err = errors.Join(err, out.Context.SetExtension(event.SchemaVersion, c.Version))
	}
	if assumed {
		err = errors.Join(err, out.Context.SetExtension(event.VersionAssumed, "true"))
	}
	for _, name := range leftovers {
		err = errors.Join(err, out.Context.SetExtension(name, nil))
	}
	if err != nil {
		return nil, 0, &failure{event.CodeEnrichmentFailed, fmt.Errorf("attributes of the enriched event: %w", err)}
	}
	return out, missed, nil
}

// provenance refuses what only Millrace and Knative may write, and returns e's payload. Collect lets no such attribute in, but a Broker's own ingress and
// other teams' producers let all in, and everything behind enrich believes them: load-search by rootid and datahash whether a document is
// there already, by failure* whether it is a dead letter. A replay may leave what it replays of: then leftovers names the attributes that the
// enriched event must not have.
func provenance(e *event.Event) (payload []byte, leftovers []string, f *failure) {
	reserved := func(format string, args ...any) ([]byte, []string, *failure) {
		return nil, nil, &failure{event.CodeReservedAttribute, fmt.Errorf(format, args...)}
	}
	payload, replayed, enriched := e.Data(), event.Attr(e, event.ReplayID) != "", event.Attr(e, event.Stage)
	leftovers = event.FailureAttributes(e)
	switch {
	case replayed && enriched == event.StageEnriched:
		// What load-search gave up, put back to the beginning: it is enriched anew.
		if p, _, err := event.SplitEnriched(payload); err == nil {
			payload = p
		}
	case replayed:
	case len(leftovers) > 0:
		return reserved("extension %s is not the producer's to set", event.Cut(leftovers[0], 40))
	case enriched != "":
		return reserved("extension %s is not the producer's to set", event.Stage)
	}
	if event.Attr(e, event.RootID) != event.Identity(e.Source(), e.ID()) {
		return reserved("extension %s is not that of the event's source and id", event.RootID)
	}
	if event.Attr(e, event.DataHash) != event.Hash(payload) {
		return reserved("extension %s is not that of the event's data", event.DataHash)
	}
	return payload, leftovers, nil
}

const contractScheme = "urn:millrace:contract:"

// resolve finds an event's contract: by type and schemaversion, else by dataschema where that is one of ours, else the type's one
// active version, which is an assumption.
func (p *plans) resolve(e *event.Event) (c *contract.Contract, assumed bool, f *failure) {
	unknown := func(format string, args ...any) (*contract.Contract, bool, *failure) {
		return nil, false, &failure{event.CodeUnknownContract, fmt.Errorf(format, args...)}
	}
	if version := event.Attr(e, event.SchemaVersion); version != "" {
		if c, ok := p.set.Find(e.Type(), version); ok {
			return c, false, nil
		}
		if versions := p.versions(e.Type()); versions != "" {
			return unknown("no contract for this schemaversion; the type has %s", versions)
		}
		return unknown("no contract for this type")
	}
	if schema := e.DataSchema(); schema != "" {
		c, ok := p.set.ByURI(schema)
		switch {
		case ok && c.EventType == e.Type():
			return c, false, nil
		case ok:
			return unknown("dataschema is the contract of another type")
		case strings.HasPrefix(schema, contractScheme):
			return unknown("no contract of the dataschema's URI")
		}
		// Any other dataschema is the producer's own affair.
	}
	switch active := p.set.Active(e.Type()); {
	case len(active) == 1:
		return active[0], true, nil
	case len(active) > 1:
		return nil, false, &failure{
			event.CodeAmbiguousVersion, fmt.Errorf("no schemaversion, and the type has %s", p.versions(e.Type())),
		}
	case p.set.Known(e.Type()):
		return unknown("no schemaversion, and none of the type's contracts is active")
	}
	return unknown("no contract for this type")
}

// versions lists an event type's versions for people.
func (p *plans) versions(eventType string) string {
	var list []string
	for _, c := range p.set.All() {
		if c.EventType == eventType {
			list = append(list, c.Version)
		}
	}
	return strings.Join(list, ", ")
}

// describe puts violations into one failure message: as many as fit, and how many more there are.
func describe(r contract.Result) string {
	const room = event.MaxFailureMessage - len("; and 1000000000 more")
	total := len(r.Violations) + r.More
	var b strings.Builder
	for n, v := range r.Violations {
		text := v.Message
		if v.Pointer != "" {
			text = v.Pointer + " " + v.Message
		} else {
			text = "the payload " + text
		}
		if n > 0 {
			text = "; " + text
		}
		if b.Len()+len(text) > room {
			if n == 0 { // cannot be with pointers and messages as bounded as they are, yet one is told
				b.WriteString(event.Cut(text, room))
				n = 1
			}
			total -= n
			b.WriteString("; and " + strconv.Itoa(total) + " more")
			return b.String()
		}
		b.WriteString(text)
	}
	if r.More > 0 {
		b.WriteString("; and " + strconv.Itoa(r.More) + " more")
	}
	return b.String()
}
