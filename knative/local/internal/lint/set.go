package lint

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"millrace/knative/local/internal/manifest"
)

// Finding is one trap in one place.
type Finding struct {
	Code Code   `json:"code"`
	File string `json:"file"`
	Line int    `json:"line"`
	// Object is kind, namespace and name of the object that has it.
	Object string `json:"object"`
	What   string `json:"what"`
	Why    string `json:"why"`
	Write  string `json:"write"`
	// Set names what was linted together.
	Set string `json:"set"`
}

// Options is what is asked of a run beside the manifests.
type Options struct {
	// Outage is what retries must outlast, in place of what annotations say; 0 is what they say.
	Outage time.Duration
}

// set is what is applied together.
type set struct {
	name       string
	options    Options
	objects    []*object
	byRef      map[ref]*object
	namespaces map[string]bool // those in which there is an object
	pods       []*pod
	findings   []Finding
	// used are the annotations that hid a finding, and stale what is to be said of those that did not.
	used  map[place]bool
	stale map[place]Finding
}

// place is a line of a file, which may be in several sets.
type place struct {
	file string
	line int
}

func newSet(name string, objects []*object, options Options) *set {
	s := &set{name: name, options: options, objects: objects, byRef: map[ref]*object{}, namespaces: map[string]bool{}, used: map[place]bool{}, stale: map[place]Finding{}}
	for _, o := range objects {
		s.byRef[o.ref] = o
		s.namespaces[o.namespace] = true
	}
	for _, o := range objects {
		if p := s.pod(o); p != nil {
			s.pods = append(s.pods, p)
		}
	}
	return s
}

// check runs every rule.
func (s *set) check() []Finding {
	for _, o := range s.objects {
		switch {
		case o.is(eventing, "Trigger"):
			s.trigger(o)
		case o.is(eventing, "Broker"):
			s.broker(o)
		case o.is(sources, "KafkaSource"):
			s.kafkaSource(o)
		case o.is(keda, "ScaledObject"):
			s.scaledObject(o)
		}
		if strings.HasSuffix(o.group, "knative.dev") {
			s.destinations(o, o.at("spec"))
		}
	}
	for _, p := range s.pods {
		s.asleep(p)
		s.sinks(p)
		s.ownIntake(p)
	}
	s.annotations()
	slices.SortStableFunc(s.findings, compare)
	return slices.Compact(s.findings)
}

func compare(a, b Finding) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Code, b.Code), cmp.Compare(a.What, b.What))
}

// found adds a finding of o, at n of the object in, unless an annotation of o says why it is meant.
func (s *set) found(code Code, o, in *object, n *yaml.Node, what, write string) {
	if reason := o.at("metadata", "annotations", prefix+string(code)); reason != nil && code != BadAnnotation {
		s.used[place{o.file, reason.Line}] = true
		return
	}
	s.findings = append(s.findings, s.finding(code, o, in, n, what, write))
}

func (s *set) finding(code Code, o, in *object, n *yaml.Node, what, write string) Finding {
	return Finding{Code: code, File: in.file, Line: cmp.Or(n, in.node).Line, Object: o.String(), What: what, Why: why(code), Write: write, Set: s.name}
}

// Annotations of this linter: prefix + a code is an exception with its reason.
const (
	prefix           = "lint.millrace/"
	annotationOutage = prefix + "outage"
	// annotationReplies says what a function's replies set: "type=trip.rated stage=rated; type=trip.refused -fare", and all else is as in the event; "none" where it never replies.
	annotationReplies = prefix + "replies"
)

// annotations checks our own, after all other rules.
func (s *set) annotations() {
	for _, o := range s.objects {
		each(o.at("metadata", "annotations"), func(k, v *yaml.Node) {
			name, ours := strings.CutPrefix(k.Value, prefix)
			if !ours {
				return
			}
			bad := func(what, write string) { s.found(BadAnnotation, o, o, k, k.Value+" "+what, write) }
			switch {
			case k.Value == annotationOutage:
				if _, err := manifest.ParseDuration(scalar(v)); err != nil {
					bad("is no duration: "+err.Error(), k.Value+": PT4H")
				}
			case k.Value == annotationReplies:
				if _, err := parseReplies(scalar(v)); err != nil {
					bad("cannot be read: "+err.Error(), k.Value+`: "type=trip.rated stage=rated; type=trip.refused", or none`)
				}
			case !known(Code(name)) || Code(name) == BadAnnotation:
				bad("names no code", "one of the codes that lint --help lists, or remove it")
			case strings.TrimSpace(scalar(v)) == "":
				bad("has no reason", k.Value+`: "why this is meant, in one sentence"`)
			case !s.used[place{o.file, v.Line}]:
				s.stale[place{o.file, v.Line}] = s.finding(BadAnnotation, o, o, k, k.Value+" hides nothing", "remove it")
			}
		})
	}
}
