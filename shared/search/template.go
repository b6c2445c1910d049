package search

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"millrace/shared/contract"
	"millrace/shared/event"
)

// layout is the version of what this package itself puts into templates. Raise it with every change of mappings or settings
// here, or older processes keep their settings in place, and put back fields that were taken out.
const layout = 4

// priority of the templates. Those that Elasticsearch ships have at most 101.
const priority = 200

// maxKeyword is how many characters of a string are indexed: Lucene's limit for a term is 32,766 bytes, and a character
// takes at most four. Longer strings stay in the document and are not found by this field.
const maxKeyword = 8191

// A NameTakenError says that a type's index name belongs to another type already: they differ only in case.
type NameTakenError struct{ Type, By string }

// Error names both types.
func (e *NameTakenError) Error() string {
	return fmt.Sprintf("the index name of event type %s is taken by %s: types must differ in more than case", e.Type, e.By)
}

// A TemplateError says that Elasticsearch answered and will not take a template: its contract has something that no mapping can be, as a date format
// that it does not know, or another template is in the way. Only a change of the contract or the cluster mends that.
type TemplateError struct {
	Name   string // of the template
	Reason string // Elasticsearch's own; it tells of the contract, never of an event
}

// Error names the template and the reason.
func (e *TemplateError) Error() string {
	return fmt.Sprintf("template %s is refused: %s", e.Name, e.Reason)
}

// EnsureTemplates makes sure that there are index templates for dead letters and for each type and model of the contracts,
// none older than what this process knows, and none of the same version that lacks a field. A newer one stays. It is safe to repeat. Types that differ only in case give a
// *NameTakenError each, and templates that are refused a *TemplateError each, after all others have been ensured; failures of requests are *OutageErrors.
func (c *Client) EnsureTemplates(ctx context.Context, contracts []*contract.Contract) error {
	var refused []error
	// keep notes an error that speaks of one template and returns any other.
	keep := func(err error) error {
		var name *NameTakenError
		var template *TemplateError
		if errors.As(err, &name) || errors.As(err, &template) {
			refused = append(refused, err)
			return nil
		}
		return err
	}
	if err := keep(c.EnsureDead(ctx)); err != nil {
		return err
	}
	type key struct {
		eventType string
		model     int
	}
	groups := make(map[key][]*contract.Contract)
	for _, k := range contracts {
		g := key{k.EventType, k.Model}
		groups[g] = append(groups[g], k)
	}
	keys := make([]key, 0, len(groups))
	for g := range groups {
		keys = append(keys, g)
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(strings.Compare(a.eventType, b.eventType), cmp.Compare(a.model, b.model))
	})
	for _, g := range keys {
		if err := keep(c.EnsureEnriched(ctx, groups[g])); err != nil {
			return err
		}
	}
	return errors.Join(refused...)
}

// EnsureDead makes sure that there is a template for the indexes of dead letters. It returns a *TemplateError where
// Elasticsearch refuses it, and an *OutageError where it cannot be asked.
func (c *Client) EnsureDead(ctx context.Context) error {
	return c.ensure(ctx, "millrace-"+c.prefix+"dead", c.deadTemplate())
}

// EnsureEnriched makes sure that there is a template for the indexes of one type and model, of which contracts are all
// known versions, at least one. It returns a *NameTakenError where the name belongs to another type, a *TemplateError where
// Elasticsearch refuses the template, and an *OutageError where it cannot be asked.
func (c *Client) EnsureEnriched(ctx context.Context, contracts []*contract.Contract) error {
	if len(contracts) == 0 {
		return errors.New("template for no contract")
	}
	k := contracts[0]
	name := "millrace-" + strings.TrimSuffix(c.enrichedBase(k.EventType, k.Model), "-")
	return c.ensure(ctx, name, c.enrichedTemplate(contracts))
}

type template struct {
	Patterns []string     `json:"index_patterns"`
	Priority int          `json:"priority"`
	Version  int64        `json:"version"`
	Meta     templateMeta `json:"_meta"`
	Template templateBody `json:"template"`

	// What ours never have, and one that was changed by hand may.
	DataStream json.RawMessage `json:"data_stream,omitempty"`
	ComposedOf []string        `json:"composed_of,omitempty"`
}

type templateMeta struct {
	ManagedBy string `json:"managed_by"`
	EventType string `json:"event_type,omitempty"`
	// Mapping is the hash of the mapping that a process of ours wanted when it wrote the template: neither what it kept of another's nor what an operator changed since.
	Mapping string `json:"mapping,omitempty"`
}

type templateBody struct {
	Settings map[string]any `json:"settings"`
	Mappings mapping        `json:"mappings"`
}

// mapping is a field of an Elasticsearch mapping, or the mapping as a whole.
type mapping map[string]any

func (c *Client) ensure(ctx context.Context, name string, want template) error {
	hash, err := want.Template.Mappings.hash()
	if err != nil {
		return fmt.Errorf("template %s: %w", name, err)
	}
	want.Meta.Mapping = hash
	// Twice, since another process may create the template after it was found missing.
	for range 2 {
		want := want
		found, err := c.templateState(ctx, name)
		if err != nil {
			return err
		}
		if found != nil {
			byHand := found.Meta.ManagedBy != want.Meta.ManagedBy // no event's fault
			if !byHand && found.Meta.EventType != want.Meta.EventType {
				return &NameTakenError{Type: want.Meta.EventType, By: found.Meta.EventType}
			}
			if !byHand && found.Version > want.Version {
				return nil
			}
			if byHand {
				c.logger.WarnContext(ctx, "index template was put by somebody else and is replaced", "template", name)
				found.Version = -1
			}
		}
		changed := found != nil && found.Version == want.Version
		if changed {
			differs, err := c.adopt(&want, found)
			if err != nil {
				return fmt.Errorf("template %s: %w", name, err)
			}
			if !differs {
				return nil
			}
		}
		body, err := json.Marshal(want)
		if err != nil {
			return fmt.Errorf("template %s: %w", name, err)
		}
		create := found == nil
		written, err := c.putTemplate(ctx, name, body, create)
		if err != nil {
			return err
		}
		if written {
			if changed {
				c.logger.Info("index template replaced: contracts changed without a new version", "template", name)
			}
			return nil
		}
	}
	return &OutageError{Request: "put template " + name, Err: errors.New("it was there and not there in turns")}
}

// hash names a mapping.
func (m mapping) hash() (string, error) {
	b, err := json.Marshal(m) // names are sorted
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", sha256.Sum256(b)), nil
}

// adopt compares a template with the one of the same version that is there, and reports whether it has something that the other lacks: a contract was changed in place, or
// another took the place of a shipped one. Which of two processes is the newer nobody can tell, so fields that only the other has are put into want.
func (c *Client) adopt(want, found *template) (differs bool, err error) {
	if found.Meta.Mapping == want.Meta.Mapping {
		return false, nil
	}
	fields, err := plain(want.Template.Mappings["properties"])
	if err != nil {
		return false, err
	}
	there, _ := found.Template.Mappings["properties"].(map[string]any)
	if covers(there, fields) {
		return false, nil
	}
	keep(fields, there)
	want.Template = templateBody{Settings: c.settings(fields), Mappings: mapping{"dynamic": false, "properties": fields}}
	return true, nil
}

// covers reports whether there has all of fields, exactly as they are.
func covers(there, fields map[string]any) bool {
	for name, f := range fields {
		f, _ := f.(map[string]any)
		t, ok := there[name].(map[string]any)
		if !ok {
			return false
		}
		inner, _ := f["properties"].(map[string]any)
		old, _ := t["properties"].(map[string]any)
		if (inner == nil) != (old == nil) || !covers(old, inner) {
			return false
		}
		f, t = maps.Clone(f), maps.Clone(t)
		delete(f, "properties")
		delete(t, "properties")
		if len(f) != len(t) {
			return false
		}
		for k, v := range f {
			// Elasticsearch may give false back as "false".
			if fmt.Sprint(v) != fmt.Sprint(t[k]) {
				return false
			}
		}
	}
	return true
}

// keep adds to fields those that only there has.
func keep(fields, there map[string]any) {
	for name, t := range there {
		f, ok := fields[name].(map[string]any)
		if !ok {
			fields[name] = t
			continue
		}
		inner, _ := f["properties"].(map[string]any)
		t, _ := t.(map[string]any)
		if old, _ := t["properties"].(map[string]any); inner != nil {
			keep(inner, old)
		}
	}
}

func (c *Client) templateState(ctx context.Context, name string) (*template, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	request := "get template " + name
	res, err := esapi.IndicesGetIndexTemplateRequest{Name: name}.Do(ctx, c.es)
	status, text, err := answer(request, res, err, http.StatusNotFound)
	if err != nil {
		return nil, err
	}
	if status == http.StatusNotFound {
		// A proxy's 404 must not read as a missing template: Elasticsearch's own names its error.
		if t := errorType(text); t != "resource_not_found_exception" && t != "index_template_missing_exception" {
			return nil, &OutageError{Request: request, Status: status, Err: errors.New(t)}
		}
		return nil, nil
	}
	var answer struct {
		Templates []struct {
			Name     string   `json:"name"`
			Template template `json:"index_template"`
		} `json:"index_templates"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || len(answer.Templates) != 1 || answer.Templates[0].Name != name {
		return nil, &OutageError{Request: request, Err: errors.New("the answer is not about this template")}
	}
	return &answer.Templates[0].Template, nil
}

// putTemplate writes a template. It reports false where create was asked for and there is one already.
func (c *Client) putTemplate(ctx context.Context, name string, body []byte, create bool) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req := esapi.IndicesPutIndexTemplateRequest{Name: name, Body: bytes.NewReader(body)}
	if create {
		req.Create = &create
	}
	request := "put template " + name
	res, err := req.Do(ctx, c.es)
	status, text, err := answer(request, res, err, http.StatusBadRequest)
	if err != nil {
		return false, err
	}
	if status != http.StatusBadRequest {
		return true, nil
	}
	// The error of a name in use is an illegal_argument_exception as many others are: look again, and report it the second time.
	if found, err := c.templateState(ctx, name); create && err == nil && found != nil {
		return false, nil
	}
	if reason, ok := refusal(text); ok {
		return false, &TemplateError{Name: name, Reason: reason}
	}
	return false, &OutageError{Request: request, Status: status, Err: errors.New(errorType(text))}
}

// refusal returns why a request about a template was refused with status 400: the longest of the reasons, which is the one that names the field. It reports
// false for what is no error of Elasticsearch's (a proxy's), and for one that speaks of the state of the cluster.
func refusal(body []byte) (reason string, ok bool) {
	var answer struct {
		Error json.RawMessage `json:"error"`
	}
	var e itemError
	if json.Unmarshal(body, &answer) != nil || json.Unmarshal(answer.Error, &e) != nil || e.Type == "" {
		return "", false
	}
	for c, n := &e, 0; c != nil && n < 10; c, n = c.Cause, n+1 {
		if unavailableTypes[c.Type] {
			return "", false
		}
		if len(c.Reason) > len(reason) {
			reason = c.Reason
		}
	}
	return event.Cut(e.Type+": "+reason, maxReason), true
}

// maxReason is where a refused template's reason is cut, in bytes: it becomes part of failure messages.
const maxReason = 600

// maxExtension is how many characters of an extension's value are indexed: with its name it is one term.
const maxExtension = 2048

func keyword() mapping { return mapping{"type": "keyword", "ignore_above": maxKeyword} }
func date() mapping    { return mapping{"type": "date"} }

// attributes are the fields of an event that both kinds of documents have.
func attributes() mapping {
	return mapping{
		"event_type":       keyword(),
		"schema_version":   keyword(),
		"root_id":          keyword(),
		"data_hash":        keyword(),
		"collector_id":     keyword(),
		"collector_tstamp": date(),
		"id":               keyword(),
		"source":           keyword(),
		"subject":          keyword(),
		"time":             date(),
		// The id in the extension traceparent, which is there as well.
		"trace_id":        keyword(),
		"replay_id":       keyword(),
		"replay_count":    mapping{"type": "long"},
		"version_assumed": mapping{"type": "boolean"},
		"partition_key":   keyword(),
		// One field however many there are: a field for each would let producers fill the index's 1,000.
		"extensions":           mapping{"type": "flattened", "ignore_above": maxExtension},
		"extensions_truncated": mapping{"type": "boolean"},
	}
}

func (c *Client) deadTemplate() template {
	fields := attributes()
	fields["stage"] = keyword()
	fields["failure"] = mapping{
		"dynamic": false,
		"properties": mapping{
			"stage":   keyword(),
			"code":    keyword(),
			"message": mapping{"type": "text", "fields": mapping{"keyword": mapping{"type": "keyword", "ignore_above": event.MaxFailureMessage}}},
			"hint":    mapping{"type": "keyword", "index": false, "doc_values": false},
			"time":    date(),
			// What the producer calls it, where the dead letter is called otherwise.
			"origin_source":   keyword(),
			"origin_id":       keyword(),
			"assumed_version": keyword(),
		},
	}
	fields["payload"] = mapping{"type": "keyword", "index": false, "doc_values": false}
	fields["payload_truncated"] = mapping{"type": "boolean"}
	fields["payload_omitted"] = mapping{"type": "boolean"}
	return template{
		Patterns: []string{c.prefix + "dead-*"},
		Priority: priority,
		Version:  layout * 1e12,
		Meta:     templateMeta{ManagedBy: "millrace"},
		Template: templateBody{Settings: c.settings(fields), Mappings: mapping{"dynamic": false, "properties": fields}},
	}
}

// enrichedTemplate returns the template for one type and model: the fields of all versions, the latest version's where several
// have one.
func (c *Client) enrichedTemplate(contracts []*contract.Contract) template {
	byVersion := slices.Clone(contracts)
	slices.SortFunc(byVersion, func(a, b *contract.Contract) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), cmp.Compare(a.Addition, b.Addition))
	})
	payload, enrichment := mapping{}, mapping{}
	for _, k := range byVersion {
		addFields(payload, k.Payload)
		addFields(enrichment, k.Enrichment)
	}
	fields := attributes()
	fields["payload"] = mapping{"dynamic": false, "properties": payload}
	fields["enrichment"] = mapping{"dynamic": false, "properties": enrichment}
	last := byVersion[len(byVersion)-1]
	return template{
		Patterns: []string{c.enrichedBase(last.EventType, last.Model) + "*"},
		Priority: priority,
		// Each number of a version is below a million.
		Version:  (layout*1e6+int64(last.Revision))*1e6 + int64(last.Addition),
		Meta:     templateMeta{ManagedBy: "millrace", EventType: last.EventType},
		Template: templateBody{Settings: c.settings(fields), Mappings: mapping{"dynamic": false, "properties": fields}},
	}
}

// addFields adds the mappings of fields to properties. Objects that are there are added to.
func addFields(properties mapping, fields []contract.Field) {
	for i := range fields {
		f := element(&fields[i])
		m := field(f)
		if m == nil {
			continue
		}
		name := fields[i].Name
		if old, ok := properties[name].(mapping); ok {
			if p, ok := old["properties"].(mapping); ok && m["properties"] != nil {
				addFields(p, f.Fields)
				continue
			}
		}
		properties[name] = m
	}
}

// element returns the innermost items of an array, and any other field itself. Elasticsearch has no arrays of its own: every
// field may hold several values.
func element(f *contract.Field) *contract.Field {
	for f.Type == contract.Array && f.Items != nil {
		f = f.Items
	}
	return f
}

// field returns the mapping of a field that is no array, or nil where it is kept in the document without being indexed.
func field(f *contract.Field) mapping {
	if f.Search == "none" {
		return nil
	}
	switch f.Type {
	case contract.String:
		if f.Search == "text" && !f.Masked() { // a pseudonym has no words
			return mapping{"type": "text"}
		}
		return keyword()
	case contract.Time:
		return keyword()
	case contract.Integer:
		return mapping{"type": "long"}
	case contract.Number, contract.Decimal:
		// The index rounds a decimal; the document keeps its digits.
		return mapping{"type": "double"}
	case contract.Boolean:
		return mapping{"type": "boolean"}
	case contract.Date, contract.Timestamp:
		m := date()
		if f.Format != "" {
			// Both the standard and Elasticsearch write patterns of the JDK's DateTimeFormatter.
			if strings.ContainsRune(f.Format, '|') {
				return keyword()
			}
			m["format"] = f.Format + "||strict_date_optional_time"
		}
		return m
	case contract.Object:
		if len(f.Fields) > 0 {
			properties := mapping{}
			addFields(properties, f.Fields)
			return mapping{"dynamic": false, "properties": properties}
		}
	case contract.Any, contract.Array:
	}
	// Of unknown shape: not even looked into, so that nothing in it can make Elasticsearch refuse the document.
	return mapping{"type": "object", "enabled": false}
}

func (c *Client) settings(fields map[string]any) map[string]any {
	s := map[string]any{"number_of_replicas": strconv.Itoa(c.replicas)}
	if n := count(fields); n > 900 {
		s["mapping.total_fields.limit"] = strconv.Itoa(2 * n)
	}
	return s
}

func count(fields map[string]any) int {
	n := len(fields)
	for _, f := range fields {
		switch f := f.(type) {
		case mapping:
			n += count(within(f))
		case map[string]any:
			n += count(within(f))
		}
	}
	return n
}

// within returns the fields of an object, however they came to be.
func within(f map[string]any) map[string]any {
	switch p := f["properties"].(type) {
	case mapping:
		return p
	case map[string]any:
		return p
	}
	return nil
}
