package contract

import (
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"millrace/shared/event"
)

// Invalid is a contract file that is not used as it stands. It is an error and a log value, both of which say what is wrong, what happens meanwhile
// and what to do.
type Invalid struct {
	File string // its path
	// EventType and Version (0-0-1) are what the file says it is for, as far as that can be read in spite of what is wrong; else "".
	EventType, Version string
	Kept               bool  // what was taken from this file before, or the embedded contract that was in use in its place, stays in use
	Err                error // each thing that is wrong, and where in the file

	waits bool // there is no contract for what it says it is for
}

// Error implements error.
func (v *Invalid) Error() string {
	return fmt.Sprintf("contract file %s is not used: %v; %s; %s", v.File, v.Err, v.meanwhile(), mend)
}

// Unwrap returns what is wrong.
func (v *Invalid) Unwrap() error { return v.Err }

// LogValue implements [slog.LogValuer].
func (v *Invalid) LogValue() slog.Value {
	return slog.GroupValue(slog.String("file", v.File), slog.String("event_type", v.EventType), slog.String("schema_version", v.Version),
		slog.String("wrong", v.Err.Error()), slog.String("meanwhile", v.meanwhile()), slog.String("mend", mend))
}

const mend = "correct the file, or take it away: it is read again as it changes"

func (v *Invalid) meanwhile() string {
	var all []string
	if v.Kept {
		all = append(all, "what was in use in its place before stays in use")
	}
	switch {
	case v.EventType == "" && !v.Kept:
		all = append(all, "it does not say for which event type it is, so events of types without a contract become dead letters")
	case v.waits && v.Version == "":
		all = append(all, "events of "+v.EventType+" of versions without a contract wait")
	case v.waits:
		all = append(all, "events of "+v.EventType+" "+v.Version+" wait")
	case !v.Kept:
		all = append(all, "another file's contract is in use for "+v.EventType+" "+v.Version)
	}
	return strings.Join(all, ", and ")
}

// Refusal is the error of an accept (see [Open]) about one contract.
type Refusal struct {
	Contract *Contract
	Err      error
}

// Error names the contract.
func (r *Refusal) Error() string {
	return fmt.Sprintf("contract %s %s: %v", r.Contract.EventType, r.Contract.Version, r.Err)
}

// Unwrap returns the reason.
func (r *Refusal) Unwrap() error { return r.Err }

// Invalid returns the files that the set does without, by path. The slice is the caller's.
func (s *Set) Invalid() []*Invalid { return slices.Clone(s.invalid) }

// Held says whether events of this type and version, for which the set has no contract, are to wait because there is a file for them that is wrong: it is
// corrected or taken away by people, and they are not to become dead letters until then. version "" stands for an event that names none.
func (s *Set) Held(eventType, version string) (*Invalid, bool) {
	for _, v := range s.invalid {
		if v.EventType == eventType && (v.Version == version || v.Version == "" || version == "") {
			return v, true
		}
	}
	return nil, false
}

// assemble makes a set of the embedded contracts and those of files, and says of which file it took which. What does not fit is left out and noted: first come the
// embedded ones, then what is in use, then what is new, by name. old is the set in use, nil at the start. The files stay as they are.
func assemble(files map[string]*file, old *Set) (set *Set, taken map[string]*Contract, err error) {
	embedded, err := readEmbedded()
	if err != nil {
		return nil, nil, err
	}
	inUse := map[string]*Contract{}
	if old != nil {
		inUse = old.byURI
	}
	paths := slices.Sorted(maps.Keys(files))
	b := &builder{taken: map[string]*Contract{}, invalid: map[string]*Invalid{}}
	var want []choice
	for _, path := range paths {
		f := files[path]
		c := f.contract
		if f.wrong != nil {
			v := *f.wrong
			b.invalid[path] = &v
			if c = f.good; c == nil {
				continue
			}
			v.Kept = true
		}
		want = append(want, choice{path, c, inUse[c.URI] == c})
	}
	for _, c := range embedded {
		stands := true
		for _, v := range b.invalid {
			if v.EventType != c.EventType || v.Version != c.Version || files[v.File].good != nil {
				continue
			}
			// The file was to take its place. Whoever works with the embedded one goes on; whoever starts does not begin to.
			if inUse[c.URI] == c {
				v.Kept = true
			} else {
				stands = false
			}
		}
		if stands {
			b.list = append(b.list, c)
		}
	}
	b.embedded = len(b.list)
	if all := b.all(want); all != nil {
		set = all
	} else {
		for _, known := range []bool{true, false} {
			for _, w := range want {
				if w.inUse == known {
					b.try(files[w.path], w)
				}
			}
		}
		if set, err = NewSet(b.list...); err != nil {
			return nil, nil, err
		}
	}
	for _, path := range slices.Sorted(maps.Keys(b.invalid)) {
		v := b.invalid[path]
		_, found := set.Find(v.EventType, v.Version)
		v.waits = v.EventType != "" && !found
		set.invalid = append(set.invalid, v)
	}
	return set, b.taken, nil
}

// choice is a contract that a file would bring.
type choice struct {
	path  string
	c     *Contract
	inUse bool
}

// builder puts contracts together, one after the other.
type builder struct {
	list     []*Contract
	embedded int // how many of list, its first ones, are embedded
	taken    map[string]*Contract
	invalid  map[string]*Invalid
}

// with returns list with c, in the place of an embedded one of its type and version.
func (b *builder) with(c *Contract) (list []*Contract, embedded int) {
	list, embedded = slices.Clone(b.list), b.embedded
	i := slices.IndexFunc(list[:embedded], func(e *Contract) bool { return e.URI == c.URI })
	if i >= 0 {
		list = slices.Delete(list, i, i+1)
		embedded--
	}
	return append(list, c), embedded
}

// all returns the set of everything, nil where that does not fit together.
func (b *builder) all(want []choice) *Set {
	whole := *b
	for _, w := range want {
		whole.list, whole.embedded = whole.with(w.c)
	}
	set, err := NewSet(whole.list...)
	if err != nil {
		return nil
	}
	for _, w := range want {
		b.taken[w.path] = w.c
	}
	return set
}

// try adds a file's contract, or what was taken from the file before, or neither.
func (b *builder) try(f *file, w choice) {
	list, embedded := b.with(w.c)
	_, err := NewSet(list...)
	if err == nil {
		b.list, b.embedded, b.taken[w.path] = list, embedded, w.c
		return
	}
	v := b.invalid[w.path]
	if v == nil {
		v = &Invalid{File: w.path, EventType: w.c.EventType, Version: w.c.Version, Err: err}
		b.invalid[w.path] = v
	}
	v.Kept = false
	if f.good == nil || f.good == w.c {
		return
	}
	list, embedded = b.with(f.good)
	if _, err := NewSet(list...); err == nil {
		b.list, b.embedded, b.taken[w.path], v.Kept = list, embedded, f.good, true
	}
}

// same reports whether two sets hold the same contracts, as read from the same files, and the same files are wrong in the same way.
func same(a, b *Set) bool {
	return slices.Equal(a.all, b.all) && slices.EqualFunc(a.invalid, b.invalid, func(v, w *Invalid) bool {
		return v.File == w.File && v.Kept == w.Kept && v.EventType == w.EventType && v.Version == w.Version && v.Err.Error() == w.Err.Error()
	})
}

// What a file says it is for, found in text that is no YAML.
var (
	claimedVersion = regexp.MustCompile(`(?m)^version:[ \t]*["']?([0-9]+\.[0-9]+\.[0-9]+)\b`)
	claimedType    = regexp.MustCompile(`\bproperty["']?:[ \t]*["']?eventType["']?[ \t]*,?\s*["']?value["']?:[ \t]*["']?([A-Za-z][A-Za-z0-9._-]{0,127})(?:[^A-Za-z0-9._-]|$)`)
)

// claim reads the event type and the version out of a file that is no contract, each "" where it cannot be found.
func claim(data []byte) (eventType, version string) {
	data = data[:min(len(data), maxFile)]
	var doc struct {
		Version          string `yaml:"version"`
		CustomProperties []struct {
			Property string    `yaml:"property"`
			Value    yaml.Node `yaml:"value"`
		} `yaml:"customProperties"`
	}
	// With an error the rest is read all the same.
	_ = yaml.Unmarshal(data, &doc)
	for _, p := range doc.CustomProperties {
		if p.Property == "eventType" {
			eventType = p.Value.Value
		}
	}
	if version = doc.Version; version == "" {
		if m := claimedVersion.FindSubmatch(data); m != nil {
			version = string(m[1])
		}
	}
	if eventType == "" {
		if m := claimedType.FindSubmatch(data); m != nil {
			eventType = string(m[1])
		}
	}
	if !event.ValidType(eventType) {
		eventType = ""
	}
	return eventType, schemaVersion(version)
}
