// Package selection says which events a replay is about.
//
// A [Selection] is data: it is part of the plan that was made of it, and of the plan's digest. It reads nothing.
package selection

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"millrace/shared/event"
)

// The two topics that a selection can be of.
const (
	Dead = "dead" // dead letters
	Raw  = "raw"  // events as collect took them
)

// Selection is a choice of events. An empty list chooses all.
type Selection struct {
	Source   string       `json:"source"` // Dead or Raw
	Lake     bool         `json:"lake"`   // read the landing area in place of Kafka
	Stages   []string     `json:"stages,omitempty"`
	Codes    []event.Code `json:"codes,omitempty"`
	Types    []string     `json:"types,omitempty"`
	Versions []string     `json:"versions,omitempty"` // schemaversion
	RootIDs  []string     `json:"root_ids,omitempty"`
	// From and To bound the time of the record in Kafka: From <= time < To. Zero is no bound.
	From  time.Time `json:"from,omitzero"`
	To    time.Time `json:"to,omitzero"`
	Limit int       `json:"limit"` // events at most
	// Stage at which dead letters enter again; "" is the one at which they failed.
	Reenter string `json:"reenter,omitempty"`
	// MaxReplays is how often an event may come back as a dead letter until it is given up.
	MaxReplays int `json:"max_replays"`
}

// Validate joins everything that is wrong.
func (s Selection) Validate() error {
	var errs []error
	fail := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	fail(s.Source != Dead && s.Source != Raw, "--source must be %s or %s", Dead, Raw)
	fail(s.Source == Raw && (len(s.Stages) > 0 || len(s.Codes) > 0 || s.Reenter != ""), "--stage, --code and --reenter are for dead letters, not for --source raw")
	fail(s.Source == Raw && s.From.IsZero() && len(s.RootIDs) == 0, "--source raw needs --from, or --root-id: all there ever was is rarely meant")
	fail(s.Reenter != "" && s.Reenter != "enrich", "--reenter can only be enrich")
	for _, c := range s.Codes {
		fail(!slices.Contains(event.Codes(), c), "--code %q is none of %s", c, codes())
	}
	for _, v := range s.Versions {
		fail(!event.ValidVersion(v), "--schema-version %q is not MODEL-REVISION-ADDITION, as 0-0-1", v)
	}
	fail(!s.From.IsZero() && !s.To.IsZero() && !s.From.Before(s.To), "--from must be before --to")
	fail(s.Limit < 1 || s.Limit > MaxLimit, "--limit must be from 1 to %d", MaxLimit)
	fail(s.MaxReplays < 1, "--max-replays must be at least 1")
	return errors.Join(errs...)
}

// MaxLimit is the largest Limit: what a plan keeps in memory of so many events is about 5 GB.
const MaxLimit = 20_000_000

func codes() string {
	var list []string
	for _, c := range event.Codes() {
		list = append(list, string(c))
	}
	return strings.Join(list, ", ")
}

// Matches reports whether e, whose record was written at the time, is chosen. It does not know of Limit.
func (s *Selection) Matches(e *event.Event, at time.Time) bool {
	if s.Source == Dead && !event.IsDead(e) {
		return false
	}
	in := func(list []string, value string) bool { return len(list) == 0 || slices.Contains(list, value) }
	switch {
	case !s.From.IsZero() && at.Before(s.From), !s.To.IsZero() && !at.Before(s.To):
		return false
	case len(s.Codes) > 0 && !slices.Contains(s.Codes, event.Code(event.Attr(e, event.FailureCode))):
		return false
	}
	return in(s.Stages, event.Attr(e, event.FailureStage)) && in(s.Types, e.Type()) &&
		in(s.Versions, event.Attr(e, event.SchemaVersion)) && in(s.RootIDs, event.Attr(e, event.RootID))
}

// String tells the selection to people.
func (s *Selection) String() string {
	var b strings.Builder
	if s.Source == Raw {
		b.WriteString("raw events")
	} else {
		b.WriteString("dead letters")
	}
	if s.Lake {
		b.WriteString(" in the lake")
	}
	list := func(name string, values []string) {
		if len(values) > 0 {
			fmt.Fprintf(&b, ", %s %s", name, strings.Join(values, " or "))
		}
	}
	list("failed at", s.Stages)
	var texts []string
	for _, c := range s.Codes {
		texts = append(texts, string(c))
	}
	list("code", texts)
	list("type", s.Types)
	list("schema version", s.Versions)
	if n := len(s.RootIDs); n > 3 {
		fmt.Fprintf(&b, ", %d root ids", n)
	} else {
		list("root id", s.RootIDs)
	}
	if !s.From.IsZero() {
		b.WriteString(", from " + event.FormatTime(s.From))
	}
	if !s.To.IsZero() {
		b.WriteString(", before " + event.FormatTime(s.To))
	}
	return b.String()
}
