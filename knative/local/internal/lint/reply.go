package lint

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"
	"gopkg.in/yaml.v3"

	"millrace/knative/local/internal/broker"
	"millrace/knative/local/internal/manifest"
	"millrace/shared/event"
)

// mixed reports filters of two dialects.
func (s *set) mixed(t *object) {
	filter, filters := t.at("spec", "filter"), t.at("spec", "filters")
	if present(filter) && len(items(filters)) > 0 {
		s.found(MixedFilter, t, t, key(t.at("spec"), "filter"), "filter stands beside filters and filters nothing",
			"filters alone; {exact: {...}} is what filter.attributes was (an empty value there, \"it exists\", is cesql: EXISTS name)")
	}
	s.dialects(t, filters)
}

// dialects reports entries of a list of filters that have more than one.
func (s *set) dialects(t *object, list *yaml.Node) {
	for _, entry := range items(list) {
		s.dialect(t, entry)
	}
}

func (s *set) dialect(t *object, entry *yaml.Node) {
	var names []string
	each(entry, func(k, v *yaml.Node) {
		if present(v) {
			names = append(names, k.Value)
		}
		switch k.Value {
		case "all", "any":
			s.dialects(t, v)
		case "not":
			s.dialect(t, v)
		}
	})
	if len(names) > 1 {
		s.found(MixedFilter, t, t, entry, "an entry of filters has the dialects "+strings.Join(names, " and "), "an entry for each; all entries of filters must take an event")
	}
}

// reply is what a function's reply differs by from the event that it answers: values by attributes, empty for one that is taken away.
type reply map[string]string

// parseReplies reads annotationReplies.
func parseReplies(text string) ([]reply, error) {
	if strings.TrimSpace(text) == "none" {
		return nil, nil
	}
	var all []reply
	for _, one := range strings.Split(text, ";") {
		r := reply{}
		for _, word := range strings.Fields(one) {
			name, value, set := strings.Cut(word, "=")
			if away, ok := strings.CutPrefix(word, "-"); ok {
				name, value, set = away, "", true
			} else if value == "" {
				set = false
			}
			if !set || !event.IsContext(name) && !event.ValidExtensionName(name) {
				return nil, fmt.Errorf("%q is neither name=value nor -name", word)
			}
			r[name] = value
		}
		if len(r) == 0 {
			return nil, errors.New("it is empty")
		}
		all = append(all, r)
	}
	return all, nil
}

// declared returns what the function or the Trigger says of replies; said is false where neither does.
func declared(objects ...*object) (replies []reply, said bool) {
	for _, o := range objects {
		if o == nil || o.at("metadata", "annotations", annotationReplies) == nil {
			continue
		}
		if replies, err := parseReplies(o.annotation(annotationReplies)); err == nil {
			return replies, true
		}
	}
	return nil, false
}

// replyLoops reports what the subscriber of a Trigger sends back to the Trigger's Broker and the Trigger takes again.
func (s *set) replyLoops(t *object, its ref) {
	function := s.byRef[s.refOf(t, t.at("spec", "subscriber"))]
	replies, said := declared(function, t)
	for _, r := range replies {
		if e, again, ok := s.round(t, r); ok {
			s.found(ReplyLoop, t, t, t.nearest("spec", "filters"), fmt.Sprintf("its subscriber answers %s with %s, which it takes again", e, again),
				"a filter that does not take the replies, such as filters: [{cesql: \"NOT EXISTS stage\"}] where replies set stage, or another type for replies")
			break
		}
	}
	at := slices.IndexFunc(s.pods, func(p *pod) bool { return p.object == function })
	if at < 0 {
		return
	}
	p := s.pods[at]
	back := s.refOfURL(p.env["SINK"]) == its
	if b := s.byRef[its]; b != nil && slices.Contains(topics(p.env["SINK"]), topicOf(b)) {
		back = true
	}
	if !back {
		return
	}
	if !said {
		replies = []reply{{}}
	}
	for _, r := range replies {
		if e, again, ok := s.round(t, r); ok {
			s.found(ReplyLoop, function, function, p.nodes["SINK"], fmt.Sprintf("SINK leads to %s, of which Trigger %s sends to this function: %s comes back as %s and is taken again", its, t.name, e, again),
				"another Broker or topic as SINK; or a filter of the Trigger that does not take what is sent, with "+annotationReplies+" saying what that differs by")
			break
		}
	}
}

// ownIntake reports a function that reads the topic it writes.
func (s *set) ownIntake(p *pod) {
	for _, topic := range topics(p.env["SINK"]) {
		if slices.Contains(p.intake(), topic) {
			s.found(ReplyLoop, p.object, p.object, cmp.Or(p.nodes["SINK"], p.node), fmt.Sprintf("SINK and INTAKE are both the topic %s", topic), "another topic as SINK")
		}
	}
}

// deadLetterLoop reports a Trigger whose dead letters come back to it: the same event, with what Knative writes onto it.
func (s *set) deadLetterLoop(t *object, sink *yaml.Node, in *object) {
	its, ok := s.brokerKey(t)
	if !ok || s.refOf(in, sink) != its {
		return
	}
	e, _, again := s.round(t, reply{event.KnativeErrorDst: "http://subscriber", event.KnativeErrCode: "503"})
	if !again {
		return
	}
	s.found(DeadLetterLoop, t, in, sink, fmt.Sprintf("what it gives up goes to its own %s, and it takes it again: %s", its, e),
		"another Broker as deadLetterSink, or filters: [{cesql: \"NOT EXISTS "+event.KnativeErrorDst+"\"}] where no other dead letters come to this Broker")
}

// maxTries bounds the events that are tried.
const maxTries = 50_000

// round looks for an event that the Trigger takes, and takes again with r. It returns both, as a person reads them.
func (s *set) round(t *object, r reply) (first, again string, found bool) {
	var spec struct {
		Spec struct {
			Filter  *manifest.TriggerFilter `yaml:"filter"`
			Filters []manifest.Filter       `yaml:"filters"`
		} `yaml:"spec"`
	}
	if err := t.node.Decode(&spec); err != nil {
		return "", "", false // the API server refuses it
	}
	trigger := &manifest.Trigger{}
	trigger.Spec.Filter, trigger.Spec.Filters = spec.Spec.Filter, spec.Spec.Filters
	takes, err := broker.Matcher(trigger)
	if err != nil {
		return "", "", false
	}
	asked := map[string][]string{}
	if len(trigger.Spec.Filters) > 0 {
		candidates(asked, trigger.Spec.Filters)
	} else if trigger.Spec.Filter != nil {
		for name, value := range trigger.Spec.Filter.Attributes {
			asked[name] = append(asked[name], value)
		}
	}
	names := slices.Sorted(maps.Keys(asked))
	values := make([][]string, len(names))
	tries := 1
	for i, name := range names {
		all := append([]string{"other", ""}, asked[name]...) // "" is absent
		if r[name] != "" {
			all = append(all, r[name])
		}
		slices.Sort(all)
		values[i] = slices.Compact(all)
		if tries *= len(values[i]); tries > maxTries {
			return "", "", false
		}
	}
	for try := range tries {
		e := map[string]string{}
		rest := try
		for i, name := range names {
			e[name] = values[i][rest%len(values[i])]
			rest /= len(values[i])
		}
		back := maps.Clone(e)
		maps.Copy(back, r)
		if accepted(takes, e) && accepted(takes, back) {
			return written(e), written(back), true
		}
	}
	return "", "", false
}

// accepted reports whether the filter takes an event of these attributes; what no event can be is not taken.
func accepted(takes func(*event.Event) bool, attributes map[string]string) bool {
	e := ce.New()
	e.SetID("id")
	e.SetSource("/source")
	e.SetType("type")
	for name, value := range attributes {
		if !assign(&e, name, value) {
			return false
		}
	}
	return takes(&e)
}

// assign sets an attribute, or takes it away where value is empty; false where an event cannot have it so.
func assign(e *event.Event, name, value string) bool {
	switch name {
	case "specversion":
		return value == e.SpecVersion()
	case "id":
		e.SetID(value)
		return value != ""
	case "source":
		e.SetSource(value)
		return value != "" && e.Source() == value
	case "type":
		e.SetType(value)
		return value != ""
	case "subject":
		e.SetSubject(value)
	case "datacontenttype":
		e.SetDataContentType(value)
	case "dataschema":
		e.SetDataSchema(value)
		return e.DataSchema() == value
	case "time":
		if value == "" {
			return true
		}
		at, err := time.Parse(time.RFC3339Nano, value)
		e.SetTime(at)
		return err == nil
	default:
		if value != "" {
			e.SetExtension(name, value)
		}
	}
	return true
}

// written writes an event's attributes as a person reads them.
func written(attributes map[string]string) string {
	if len(attributes) == 0 {
		return "any event"
	}
	var words []string
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		if attributes[name] == "" {
			words = append(words, "no "+name)
			continue
		}
		words = append(words, name+"="+attributes[name])
	}
	return "an event with " + strings.Join(words, ", ")
}

// candidates collects the attributes that filters ask for, with the values that they name.
func candidates(asked map[string][]string, filters []manifest.Filter) {
	for i := range filters {
		f := &filters[i]
		for _, attributes := range []map[string]string{f.Exact, f.Prefix, f.Suffix} {
			for name, value := range attributes {
				asked[name] = append(asked[name], value)
			}
		}
		candidates(asked, f.All)
		candidates(asked, f.Any)
		if f.Not != nil {
			candidates(asked, []manifest.Filter{*f.Not})
		}
		expressed(asked, f.CESQL)
	}
}

var (
	cesqlString = regexp.MustCompile(`'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"`)
	cesqlWord   = regexp.MustCompile(`[A-Za-z0-9_]+\s*\(?`)
	cesqlSigns  = []string{"and", "or", "xor", "not", "like", "in", "exists", "true", "false"}
)

// expressed collects the attributes of an expression, each with all values that stand in it: what it compares with what is not looked at.
func expressed(asked map[string][]string, expression string) {
	var values, names []string
	for _, quoted := range cesqlString.FindAllString(expression, -1) {
		values = append(values, strings.NewReplacer("%", "", "_", "x", `\`, "").Replace(quoted[1:len(quoted)-1]))
	}
	for _, word := range cesqlWord.FindAllString(cesqlString.ReplaceAllString(expression, " "), -1) {
		name := strings.ToLower(strings.TrimSpace(word))
		switch {
		case slices.Contains(cesqlSigns, strings.TrimSpace(strings.TrimSuffix(name, "("))), strings.HasSuffix(name, "("):
		case strings.Trim(name, "0123456789") == "":
			values = append(values, name)
		default:
			names = append(names, name)
		}
	}
	for _, name := range names {
		asked[name] = append(asked[name], values...)
	}
}
