package enrichment

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"millrace/shared/contract"
	"millrace/shared/event"
)

// Rules are a set of contracts whose steps are bound to their tables. They are safe for concurrent use and never change.
type Rules struct {
	set        *contract.Set
	byContract map[*contract.Contract]*plan
	schemas    map[*contract.Contract]*url.URL // of enriched events
}

// Bind makes the rules of a set of contracts. The error joins a [*contract.Refusal] for each contract with a step that cannot work: an absent table or column, a
// value that is not of its field's type. So none fails later for a reason that was known before.
func Bind(set *contract.Set, tables Tables) (*Rules, error) {
	r := &Rules{set: set, byContract: map[*contract.Contract]*plan{}, schemas: map[*contract.Contract]*url.URL{}}
	var errs []error
	for _, c := range set.All() {
		bound, err := bind(c, tables)
		schema, uriErr := url.Parse(c.EnrichedURI())
		if err := errors.Join(err, uriErr); err != nil {
			errs = append(errs, &contract.Refusal{Contract: c, Err: err})
		}
		r.byContract[c], r.schemas[c] = bound, schema
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return r, nil
}

// Contracts returns the set that the rules were made of.
func (r *Rules) Contracts() *contract.Set { return r.set }

// Failure is why an event can never pass: it is the dead letter's code and message.
type Failure struct {
	Code event.Code
	Err  error // for people; quotes no values of the payload
	// Violations are, with [event.CodeContractViolation], where the payload breaks its contract and how, at most contract.MaxViolations.
	Violations []contract.Violation
	// Assumed is the schema version that the event was held against because it names none, "" where it names one.
	Assumed string
	// Waits: there is a contract file for the event, and it is wrong, which is no fault of the event's: it must not become a dead letter before the file is corrected or
	// taken away. This alone of all failures passes without a change of the event or its contract.
	Waits bool
}

// Error implements error: the dead letter's message.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap returns Err.
func (f *Failure) Unwrap() error { return f.Err }

// Enrich returns the enriched form of e, and how many steps missed their key, or why it fails. e is not changed, and its data is copied. It is a pure
// function of the event and the rules, so an event that is delivered twice gives the same bytes twice.
func (r *Rules) Enrich(e *event.Event) (enriched *event.Event, missed int, f *Failure) {
	payload, leftovers, f := provenance(e)
	if f != nil {
		return nil, 0, f
	}
	c, assumed, f := r.resolve(e)
	if f != nil {
		return nil, 0, r.hold(e, f)
	}
	if assumed {
		defer func() {
			if f != nil {
				f.Assumed = c.Version
			}
		}()
	}
	if len(payload) == 0 {
		return nil, 0, &Failure{Code: event.CodeNotJSON, Err: errors.New("the event has no data")}
	}
	found, err := c.Inspect(payload)
	if err != nil {
		return nil, 0, &Failure{Code: event.CodeNotJSON, Err: err}
	}
	if len(found.Violations) > 0 {
		return nil, 0, &Failure{Code: event.CodeContractViolation, Err: errors.New(describe(found)), Violations: found.Violations}
	}
	added, missed, err := r.byContract[c].enrichment(found.Keys)
	if err != nil {
		return nil, 0, &Failure{Code: event.CodeEnrichmentFailed, Err: err}
	}
	// The attributes are copied and the data replaced: e.Clone would copy the data, too.
	out := &event.Event{Context: e.Context.Clone(), DataEncoded: event.EnrichedData(payload, added)}
	err = errors.Join(
		out.Context.SetDataSchema(r.schemas[c].String()),
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
		return nil, 0, &Failure{Code: event.CodeEnrichmentFailed, Err: fmt.Errorf("attributes of the enriched event: %w", err)}
	}
	return out, missed, nil
}

// provenance refuses what only Millrace and Knative may write, and returns e's payload. Collect lets no such attribute in, but a Broker's own ingress and
// other teams' producers let all in, and everything behind enrich believes them: load-search by rootid and datahash whether a document is
// there already, by failure* whether it is a dead letter. What a replay says of itself, and who collected an event, cannot be proven: Kafka names no sender. A replay may leave what it replays of: then leftovers names the attributes that the
// enriched event must not have.
func provenance(e *event.Event) (payload []byte, leftovers []string, f *Failure) {
	reserved := func(format string, args ...any) ([]byte, []string, *Failure) {
		return nil, nil, &Failure{Code: event.CodeReservedAttribute, Err: fmt.Errorf(format, args...)}
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
	case event.Attr(e, event.VersionAssumed) != "":
		return reserved("extension %s is not the producer's to set", event.VersionAssumed)
	case event.Attr(e, event.ReplayCount) != "":
		return reserved("extension %s without %s is not the producer's to set", event.ReplayCount, event.ReplayID)
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
func (r *Rules) resolve(e *event.Event) (c *contract.Contract, assumed bool, f *Failure) {
	unknown := func(format string, args ...any) (*contract.Contract, bool, *Failure) {
		return nil, false, &Failure{Code: event.CodeUnknownContract, Err: fmt.Errorf(format, args...)}
	}
	if version := event.Attr(e, event.SchemaVersion); version != "" {
		if c, ok := r.set.Find(e.Type(), version); ok {
			return c, false, nil
		}
		if versions := r.versions(e.Type()); versions != "" {
			return unknown("no contract for this schemaversion; the type has %s", versions)
		}
		return unknown("no contract for this type")
	}
	if schema := e.DataSchema(); schema != "" {
		c, ok := r.set.ByURI(schema)
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
	switch active := r.set.Active(e.Type()); {
	case len(active) == 1:
		return active[0], true, nil
	case len(active) > 1:
		return nil, false, &Failure{
			Code: event.CodeAmbiguousVersion, Err: fmt.Errorf("no schemaversion, and the type has %s", r.versions(e.Type())),
		}
	case r.set.Known(e.Type()):
		return unknown("no schemaversion, and none of the type's contracts is active")
	}
	return unknown("no contract for this type")
}

// hold says of an event without a contract that it waits, where there is a file for it that is wrong.
func (r *Rules) hold(e *event.Event, f *Failure) *Failure {
	version := event.Attr(e, event.SchemaVersion)
	if rest, ours := strings.CutPrefix(e.DataSchema(), contractScheme+e.Type()+":"); version == "" && ours {
		version = strings.TrimSuffix(rest, "/enriched")
	}
	if wrong, held := r.set.Held(e.Type(), version); held {
		return &Failure{Code: f.Code, Err: fmt.Errorf("%w, and its file %s is wrong", f.Err, filepath.Base(wrong.File)), Waits: true}
	}
	return f
}

// versions lists an event type's versions for people.
func (r *Rules) versions(eventType string) string {
	var list []string
	for _, c := range r.set.All() {
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
