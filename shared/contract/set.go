package contract

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

//go:embed contracts/*.odcs.yaml
var embedded embed.FS

// Set is a number of contracts that fit together: one per event type and version, no two types that differ in case alone, and within
// one MODEL of a type every field with one type. It is safe for concurrent use and never changes.
type Set struct {
	byVersion map[string]map[string]*Contract
	byURI     map[string]*Contract
	all       []*Contract
	invalid   []*Invalid // files that were left out, of a set that a Source made
}

// Embedded is the set of the contracts that ship with Millrace.
func Embedded() (*Set, error) { return shipped() }

var shipped = sync.OnceValues(func() (*Set, error) {
	list, err := readEmbedded()
	if err != nil {
		return nil, err
	}
	return NewSet(list...)
})

// readEmbedded returns the embedded contracts, the same ones each time. The slice is not the caller's.
var readEmbedded = sync.OnceValues(func() ([]*Contract, error) {
	entries, err := embedded.ReadDir("contracts")
	if err != nil {
		return nil, fmt.Errorf("list the embedded contracts: %w", err)
	}
	var list []*Contract
	for _, entry := range entries {
		data, err := embedded.ReadFile("contracts/" + entry.Name())
		if err != nil {
			return nil, fmt.Errorf("read the embedded contract %s: %w", entry.Name(), err)
		}
		c, err := Parse("embedded "+entry.Name(), data)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
})

// NewSet puts contracts together. Its error joins everything in which they do not fit.
func NewSet(list ...*Contract) (*Set, error) {
	s := &Set{byVersion: map[string]map[string]*Contract{}, byURI: map[string]*Contract{}, all: slices.Clone(list)}
	slices.SortStableFunc(s.all, compare)
	var errs []error
	lower := map[string]*Contract{}
	for _, c := range s.all {
		// Search indices are named in lower case.
		if other, ok := lower[strings.ToLower(c.EventType)]; ok && other.EventType != c.EventType {
			errs = append(errs, fmt.Errorf("event types %s (%s) and %s (%s) differ in case alone", other.EventType, other.file, c.EventType, c.file))
		}
		lower[strings.ToLower(c.EventType)] = c
		versions := s.byVersion[c.EventType]
		if versions == nil {
			versions = map[string]*Contract{}
			s.byVersion[c.EventType] = versions
		}
		if versions[c.Version] != nil {
			errs = append(errs, fmt.Errorf("%s %s has two contracts, %s and %s", c.EventType, c.Version, versions[c.Version].file, c.file))
		}
		versions[c.Version] = c
		s.byURI[c.URI] = c
	}
	for _, eventType := range slices.Sorted(maps.Keys(s.byVersion)) {
		for _, m := range s.models(eventType) {
			if _, err := s.Model(eventType, m); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

func compare(a, b *Contract) int {
	return cmp.Or(
		cmp.Compare(a.EventType, b.EventType), cmp.Compare(a.Model, b.Model),
		cmp.Compare(a.Revision, b.Revision), cmp.Compare(a.Addition, b.Addition),
	)
}

// Find returns the contract of an event type in a version as the attribute schemaversion spells it (0-0-1).
func (s *Set) Find(eventType, version string) (*Contract, bool) {
	c, ok := s.byVersion[eventType][version]
	return c, ok
}

// ByURI returns the contract with this URI, or with this URI as that of its enriched form.
func (s *Set) ByURI(uri string) (*Contract, bool) {
	c, ok := s.byURI[strings.TrimSuffix(uri, "/enriched")]
	return c, ok
}

// Active returns the contracts of an event type whose status is active, the oldest version first.
func (s *Set) Active(eventType string) []*Contract {
	var list []*Contract
	for _, c := range s.all {
		if c.EventType == eventType && c.Status == StatusActive {
			list = append(list, c)
		}
	}
	return list
}

// Known reports whether the set has any contract of an event type.
func (s *Set) Known(eventType string) bool { return len(s.byVersion[eventType]) > 0 }

// All returns the contracts by event type and version, oldest first. The slice is the caller's.
func (s *Set) All() []*Contract { return slices.Clone(s.all) }

// Model is what all versions of one MODEL of an event type have together: the columns of its lake table and the fields of its search
// indices. Additions only add.
type Model struct {
	EventType  string
	Model      int
	Payload    []Field // of all versions, in the order in which they came in; none is Required
	Enrichment []Field // likewise
	Versions   []*Contract
}

// Models returns every MODEL of every event type in the set, in order.
func (s *Set) Models() []Model {
	var list []Model
	for _, eventType := range slices.Sorted(maps.Keys(s.byVersion)) {
		for _, m := range s.models(eventType) {
			if model, err := s.Model(eventType, m); err == nil { // NewSet saw that there is none
				list = append(list, model)
			}
		}
	}
	return list
}

func (s *Set) models(eventType string) []int {
	found := map[int]bool{}
	for _, c := range s.byVersion[eventType] {
		found[c.Model] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// Model merges the fields of all versions of one MODEL. An error names each field that has two types.
func (s *Set) Model(eventType string, model int) (Model, error) {
	m := Model{EventType: eventType, Model: model}
	var errs []error
	for _, c := range s.all {
		if c.EventType != eventType || c.Model != model {
			continue
		}
		var wrong []error
		m.Payload = merge(m.Payload, c.Payload, "payload", &wrong)
		m.Enrichment = merge(m.Enrichment, c.Enrichment, "enrichment", &wrong)
		if len(wrong) > 0 {
			errs = append(errs, fmt.Errorf("%s %s (%s) and %s: %w", eventType, c.Version, c.file, contradicted(m.Versions, c), errors.Join(wrong...)))
		}
		m.Versions = append(m.Versions, c)
	}
	if len(m.Versions) == 0 {
		return Model{}, fmt.Errorf("event type %s has no contract of model %d", eventType, model)
	}
	if err := errors.Join(errs...); err != nil {
		return Model{}, err
	}
	return m, nil
}

// contradicted names the first of the versions that c does not fit.
func contradicted(versions []*Contract, c *Contract) string {
	for _, v := range versions {
		var wrong []error
		merge(merge(nil, v.Payload, "", &wrong), c.Payload, "", &wrong)
		merge(merge(nil, v.Enrichment, "", &wrong), c.Enrichment, "", &wrong)
		if len(wrong) > 0 {
			return fmt.Sprintf("%s (%s)", v.Version, v.file)
		}
	}
	return "earlier versions"
}

func merge(into, more []Field, at string, errs *[]error) []Field {
	into = slices.Clone(into)
	for _, f := range more {
		f.Required = false
		i := slices.IndexFunc(into, func(g Field) bool { return strings.EqualFold(g.Name, f.Name) })
		if i < 0 {
			f.Fields = merge(nil, f.Fields, at+f.pointer, errs)
			into = append(into, f)
			continue
		}
		into[i] = mergeField(into[i], f, at, errs)
	}
	return into
}

func mergeField(a, b Field, at string, errs *[]error) Field {
	if a.Name != b.Name || a.Type != b.Type || a.Precision != b.Precision || a.Scale != b.Scale || a.Timezone != b.Timezone ||
		(a.Items == nil) != (b.Items == nil) || a.Type == Object && (len(a.Fields) == 0) != (len(b.Fields) == 0) {
		*errs = append(*errs, fmt.Errorf("%s%s: name or type is not that of an earlier version, which takes a new MODEL", at, b.pointer))
		return a
	}
	if b.Masked() && !a.Masked() {
		a.Classification = b.Classification // an older producer's value is the same person's
	}
	a.Fields = merge(a.Fields, b.Fields, at, errs)
	if a.Items != nil {
		item := mergeField(*a.Items, *b.Items, at, errs)
		a.Items = &item
	}
	return a
}
