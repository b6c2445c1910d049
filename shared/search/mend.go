package search

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"millrace/shared/contract"
	"millrace/shared/event"
)

// MendTemplates puts templates right that were changed by hand, and says of each what differed: fields of ours that are otherwise or missing, guessing, patterns, priority, a data stream,
// parts of others. Fields that it has beside ours, and its settings, stay: these are the operator's. One that is missing, older or newer is the business of EnsureTemplates, which comes after
// it. Errors are as those of EnsureTemplates; what was mended before one is returned.
func (c *Client) MendTemplates(ctx context.Context, contracts []*contract.Contract) (mended []string, err error) {
	byName := map[string][]*contract.Contract{}
	for _, k := range contracts {
		name := "millrace-" + strings.TrimSuffix(c.enrichedBase(k.EventType, k.Model), "-")
		if taken := byName[name]; len(taken) == 0 || taken[0].EventType == k.EventType {
			byName[name] = append(taken, k)
		}
	}
	names := append(slices.Sorted(maps.Keys(byName)), "millrace-"+c.prefix+"dead")
	for _, name := range names {
		want := c.deadTemplate()
		if of := byName[name]; len(of) > 0 {
			want = c.enrichedTemplate(of)
		}
		said, err := c.mend(ctx, name, want)
		if err != nil {
			return mended, err
		}
		if said != "" {
			mended = append(mended, name+": "+said)
		}
	}
	return mended, nil
}

func (c *Client) mend(ctx context.Context, name string, want template) (said string, err error) {
	found, err := c.templateState(ctx, name)
	if err != nil || found == nil {
		return "", err
	}
	ours := found.Meta.ManagedBy == want.Meta.ManagedBy
	if ours && (found.Version != want.Version || found.Meta.EventType != want.Meta.EventType) {
		return "", nil
	}
	fields, err := plain(want.Template.Mappings)
	if err != nil {
		return "", fmt.Errorf("template %s: %w", name, err)
	}
	var differ []string
	if !ours {
		differ = append(differ, "it was put by somebody else (no _meta.managed_by)")
	}
	differ = append(differ, differences(fields, found.Template.Mappings, "")...)
	if !slices.Equal(found.Patterns, want.Patterns) {
		differ = append(differ, fmt.Sprintf("index_patterns were %v", found.Patterns))
	}
	if found.Priority != want.Priority {
		differ = append(differ, fmt.Sprintf("priority was %d", found.Priority))
	}
	if len(found.DataStream) > 0 && string(found.DataStream) != "null" {
		differ = append(differ, "it made data streams")
	}
	if len(found.ComposedOf) > 0 {
		differ = append(differ, fmt.Sprintf("it was composed of %v", found.ComposedOf))
	}
	if len(differ) == 0 {
		return "", nil
	}
	if want.Meta.Mapping, err = want.Template.Mappings.hash(); err != nil {
		return "", fmt.Errorf("template %s: %w", name, err)
	}
	properties, _ := fields["properties"].(map[string]any)
	there, _ := found.Template.Mappings["properties"].(map[string]any)
	keep(properties, there)
	want.Template.Mappings = mapping{"dynamic": false, "properties": properties}
	if len(found.Template.Settings) > 0 {
		want.Template.Settings = found.Template.Settings
	}
	body, err := json.Marshal(want)
	if err != nil {
		return "", fmt.Errorf("template %s: %w", name, err)
	}
	written, err := c.putTemplate(ctx, name, body, false)
	if err == nil && !written {
		err = &OutageError{Request: "put template " + name, Err: errors.New("it was not written")}
	}
	return event.Cut(strings.Join(differ, "; "), maxReason), err
}

// differences names what of a mapping is missing or otherwise in another; what that has beside it is none.
func differences(want, have map[string]any, at string) (differ []string) {
	for _, key := range slices.Sorted(maps.Keys(want)) {
		w, h := want[key], have[key]
		if key != "properties" {
			// Elasticsearch may give false back as "false".
			if fmt.Sprint(w) != fmt.Sprint(h) && (h != nil || key != "type") {
				differ = append(differ, fmt.Sprintf("%s of %s was %s", key, cmp.Or(at, "the document"), shown(h)))
			}
			continue
		}
		fields, _ := w.(map[string]any)
		there, _ := h.(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			path := strings.TrimPrefix(at+"."+name, ".")
			field, _ := fields[name].(map[string]any)
			old, ok := there[name].(map[string]any)
			if !ok {
				differ = append(differ, "field "+path+" was missing")
				continue
			}
			differ = append(differ, differences(field, old, path)...)
		}
	}
	return differ
}

func shown(v any) string {
	if v == nil {
		return "not set"
	}
	return event.Cut(fmt.Sprint(v), 40)
}
