// Package rehearsal tells what a replay of an event would do, without doing it: today's rules of enrich (package enrichment) and today's documents of
// load-search (package document) are run over it, and search is asked what it shows.
//
// It guarantees that nothing is written anywhere. It cannot tell what only a stage itself knows: whether Elasticsearch takes a document that it refused
// before, and what collect says to what it refused. Nor can it see the future: another event may be written before the replay is.
package rehearsal

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"millrace/functions/replay/internal/plan"
	"millrace/functions/replay/internal/selection"
	"millrace/shared/delivery"
	"millrace/shared/document"
	"millrace/shared/enrichment"
	"millrace/shared/event"
	"millrace/shared/mask"
	"millrace/shared/rawjson"
	"millrace/shared/search"
)

// Names of the stages at which an event can enter again, as they stand in the attribute failurestage.
const (
	stageCollect    = "collect"
	stageEnrich     = "enrich"
	stageLoadSearch = "load-search"
)

// Index is search as a rehearsal needs it; search.Client is one. Versions blocks; its errors are outages.
type Index interface {
	document.Names
	Versions(ctx context.Context, refs []search.Ref) ([]search.Version, error)
}

// Rehearsal judges events. It is not safe for concurrent use.
type Rehearsal struct {
	rules  *enrichment.Rules
	models document.Models
	names  document.Names
	index  Index // nil: nobody is asked what search shows

	source     string
	reenter    string
	maxReplays int
}

// New returns a rehearsal of a selection's events with these rules. index may be nil; names are used in any case.
func New(rules *enrichment.Rules, names document.Names, index Index, s selection.Selection) *Rehearsal {
	return &Rehearsal{
		rules: rules, models: document.ModelsOf(rules.Contracts()), names: names, index: index,
		source: s.Source, reenter: s.Reenter, maxReplays: s.MaxReplays,
	}
}

// Verdict is what a replay of one event is expected to do.
type Verdict struct {
	To       plan.Target
	Outcome  plan.Outcome
	Reason   plan.Reason // zero where there is nothing to say
	Count    int         // its replaycount
	Returned int         // how often it came back as a dead letter
	document *document.Document
}

// Judge says what a replay of e would do, before search is asked: Shown does that.
func (r *Rehearsal) Judge(e *event.Event) Verdict {
	v := Verdict{Count: event.Replays(e) + 1}
	if r.source == selection.Dead {
		v.Returned = event.Replays(e)
	}
	to, why := r.target(e)
	v.To = to
	if why != "" {
		return v.because(plan.Unknown, event.Attr(e, event.FailureStage), event.Code(event.Attr(e, event.FailureCode)), why)
	}
	v = r.judge(e, v)
	if v.Returned >= r.maxReplays && v.Outcome != plan.Fail {
		return v.because(plan.GivenUp, event.Attr(e, event.FailureStage), event.Code(event.Attr(e, event.FailureCode)), fmt.Sprintf("came back %d times", v.Returned))
	}
	return v
}

func (v Verdict) because(o plan.Outcome, stage string, code event.Code, message string) Verdict {
	v.Outcome, v.Reason, v.document = o, plan.Reason{Stage: stage, Code: code, Message: message}, nil
	return v
}

// target says where e enters again, or why nobody knows.
func (r *Rehearsal) target(e *event.Event) (to plan.Target, why string) {
	if r.source == selection.Raw {
		return plan.Raw, ""
	}
	switch stage := event.Attr(e, event.FailureStage); stage {
	case stageCollect:
		return plan.Collect, ""
	case stageEnrich:
		return plan.Raw, ""
	case stageLoadSearch:
		if r.reenter == stageEnrich {
			return plan.Raw, ""
		}
		return plan.Enriched, ""
	default:
		return "", "no stage of this name can be entered again"
	}
}

func (r *Rehearsal) judge(e *event.Event, v Verdict) Verdict {
	if withoutData(e) {
		return v.because(plan.Fail, event.Attr(e, event.FailureStage), event.CodeTooLarge, "the dead letter was too large for its data, which is in the raw topic and its archive")
	}
	if v.To == plan.Collect {
		if Form(e) == FormNone {
			return v.because(plan.Fail, stageCollect, event.Code(event.Attr(e, event.FailureCode)), "what was sent is neither an object of the JSON form nor a CloudEvent")
		}
		return v.because(plan.Unknown, stageCollect, event.Code(event.Attr(e, event.FailureCode)), "collect itself tells, when it is sent there again")
	}
	again, err := plan.Event(e, "rehearsal", v.Count)
	if err != nil {
		return v.because(plan.Fail, stageEnrich, event.CodeInvalidAttribute, err.Error())
	}
	refusedBySearch := v.To == plan.Enriched && event.Code(event.Attr(e, event.FailureCode)) == event.CodeSearchRejected
	if v.To == plan.Raw {
		enriched, _, failure := r.rules.Enrich(again)
		if failure != nil {
			message := failure.Error()
			if len(failure.Violations) > 0 { // the first one; all of them would make a reason of each event
				message = strings.TrimSpace(failure.Violations[0].Pointer + " " + failure.Violations[0].Message)
			}
			outcome := plan.Fail
			if failure.Waits {
				outcome = plan.Unknown
			}
			return v.because(outcome, stageEnrich, failure.Code, message)
		}
		again = enriched
	}
	d, err := document.New(r.names, r.models, anyKey, again)
	if err != nil {
		out := delivery.NewOutcomes(1)
		out.Settle(0, err)
		code := out[0].Code
		if unknown := (*document.UnknownModelError)(nil); errors.As(err, &unknown) {
			code = event.CodeUnknownContract
		}
		return v.because(plan.Fail, stageLoadSearch, code, err.Error())
	}
	if refusedBySearch {
		v = v.because(plan.Unknown, stageLoadSearch, event.CodeSearchRejected, "only Elasticsearch can tell whether it takes the document now")
	} else {
		v.Outcome = plan.Pass
	}
	v.document = d
	return v
}

// anyKey is good enough for documents of which the name and the hash alone are looked at; load-search's own is not for a command to have.
func anyKey() (*mask.Key, error) { return mask.NewKey([]byte("of no use but for a rehearsal")) }

// withoutData reports whether e lost its data on its way into the dead letters: its hash is that of other bytes than none.
func withoutData(e *event.Event) bool {
	hash := event.Attr(e, event.DataHash)
	return len(e.Data()) == 0 && hash != "" && hash != event.Hash(nil)
}

// Shown asks search what it shows of the events, and completes their verdicts: those that would replace a document do so with a count above its version, and those that
// would replace another payload fail. Without an index it does nothing. The error is an outage.
func (r *Rehearsal) Shown(ctx context.Context, verdicts []*Verdict) error {
	if r.index == nil {
		return nil
	}
	var refs []search.Ref
	var of []*Verdict
	for _, v := range verdicts {
		if v.document != nil {
			refs, of = append(refs, search.Ref{Index: v.document.Index, ID: v.document.ID}), append(of, v)
		}
	}
	if len(refs) == 0 {
		return nil
	}
	shown, err := r.index.Versions(ctx, refs)
	if err != nil {
		return fmt.Errorf("look what search shows: %w", err)
	}
	for i, v := range of {
		hash := v.document.Hash
		v.document.Source, v.document.Event = nil, nil
		switch {
		case !shown[i].Found:
		case shown[i].Hash != hash:
			*v = v.because(plan.Fail, stageLoadSearch, event.CodeIdentityConflict, "search shows another payload under the same source and id, which a replay must not replace")
		case r.source == selection.Dead && shown[i].Number > int64(v.Returned)+1:
			*v = v.because(plan.Settled, stageLoadSearch, "", "search shows it from a later replay")
		default:
			// The external version is the count + 1 and must be above the one shown.
			v.Count = max(v.Count, int(shown[i].Number))
			if v.Outcome == plan.Pass {
				v.Outcome = plan.Overwrite
			}
		}
		v.document = nil
	}
	return nil
}

// CollectForm is how what collect refused is sent to it again.
type CollectForm int

// The forms.
const (
	FormNone       CollectForm = iota // it cannot be sent
	FormJSON                          // the JSON form, to /api/v1/collect
	FormStructured                    // a CloudEvent in the JSON format, to /api/v1/events
	FormBinary                        // the event itself, in binary mode, to /api/v1/events
)

// Form says how e, a dead letter of collect, is sent again.
func Form(e *event.Event) CollectForm {
	if event.Attr(e, event.KnativeErrorDst) != "" {
		return FormBinary // collect was not reached: it is the event itself
	}
	switch event.Code(event.Attr(e, event.FailureCode)) {
	case event.CodeUnparsed, event.CodeInvalidCloudEvent:
		return FormNone
	default:
	}
	data, members := e.Data(), map[string]bool{}
	if !rawjson.Valid(data) || rawjson.Kind(data) != '{' {
		return FormNone
	}
	if err := rawjson.Members(data, func(name string, _ []byte) error { members[name] = true; return nil }); err != nil {
		return FormNone
	}
	switch {
	case members["specversion"]:
		return FormStructured
	case members["event_type"], members["payload"]:
		return FormJSON
	}
	return FormNone
}
