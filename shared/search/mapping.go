package search

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"millrace/shared/contract"
	"millrace/shared/event"
)

// A MappingError says that an index which is there does not take fields that its template has by now. It keeps those that it has, and documents go on being
// written to it: the fields are in them, and are not found by a search in that index.
type MappingError struct {
	Index  string
	Reason string // Elasticsearch's own, or which fields are of another type there; it tells of the contract, never of an event
}

// Error names the index and the reason.
func (e *MappingError) Error() string {
	return fmt.Sprintf("index %s does not take all fields: %s", e.Index, e.Reason)
}

// ExtendEnriched gives the indexes of one type and model that are there the fields of contracts, which are all known versions, at least one: a template is for
// indexes to come. Documents that are in an index already are found by an added field only after an _update_by_query, which this does not do. It is safe to repeat and takes
// nothing away. It returns a *MappingError for each index that refuses, joined, after all others have been extended, and an *OutageError where Elasticsearch
// cannot be asked.
func (c *Client) ExtendEnriched(ctx context.Context, contracts []*contract.Contract) error {
	if len(contracts) == 0 {
		return errors.New("mapping for no contract")
	}
	return c.extend(ctx, c.enrichedTemplate(contracts))
}

// ExtendDead is ExtendEnriched for the indexes of dead letters, whose fields change with this package.
func (c *Client) ExtendDead(ctx context.Context) error { return c.extend(ctx, c.deadTemplate()) }

func (c *Client) extend(ctx context.Context, t template) error {
	pattern, fields := t.Patterns[0], t.Template.Mappings["properties"]
	reason, err := c.putMapping(ctx, pattern, fields)
	if err != nil || reason == "" {
		return err
	}
	// One index that refuses kept all from being extended: each by itself, and only with what it lacks.
	there, err := c.mappings(ctx, pattern)
	if err != nil {
		return err
	}
	want, err := plain(fields)
	if err != nil {
		return fmt.Errorf("mapping of %s: %w", pattern, err)
	}
	var refused []error
	for _, index := range slices.Sorted(maps.Keys(there)) {
		missing, differ := compare(want, there[index], "")
		reason := ""
		if len(missing) > 0 {
			if reason, err = c.putMapping(ctx, index, missing); err != nil {
				return errors.Join(append(refused, err)...)
			}
		}
		if len(differ) > 0 {
			slices.Sort(differ)
			reason = cmp.Or(reason, event.Cut(strings.Join(differ, "; "), maxReason))
		}
		if reason != "" {
			refused = append(refused, &MappingError{Index: index, Reason: reason})
		}
	}
	return errors.Join(refused...)
}

// putMapping adds fields to the indexes of a name or a pattern, to all or to none. It returns why they were refused, "" where they were not.
func (c *Client) putMapping(ctx context.Context, indexes string, fields any) (refused string, err error) {
	return c.putMappingBody(ctx, indexes, mapping{"properties": fields})
}

// putMappingBody is putMapping for a mapping as a whole.
func (c *Client) putMappingBody(ctx context.Context, indexes string, whole mapping) (refused string, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	body, err := json.Marshal(whole)
	if err != nil {
		return "", fmt.Errorf("mapping of %s: %w", indexes, err)
	}
	yes := true
	request := "put mapping " + indexes
	res, err := esapi.IndicesPutMappingRequest{
		Index: []string{indexes}, Body: bytes.NewReader(body), AllowNoIndices: &yes, IgnoreUnavailable: &yes,
	}.Do(ctx, c.es)
	status, text, err := answer(request, res, err, http.StatusBadRequest, http.StatusForbidden)
	if err != nil || status < http.StatusBadRequest {
		return "", err
	}
	reason, ok := refusal(text)
	if status == http.StatusForbidden {
		// A block on one index; else a missing right, which is not one index's.
		reason = errorType(text)
		ok = strings.HasPrefix(reason, "cluster_block_exception")
	}
	if !ok {
		return "", &OutageError{Request: request, Status: status, Err: errors.New(errorType(text))}
	}
	return reason, nil
}

// mappings returns the fields of the indexes of a pattern, by index.
func (c *Client) mappings(ctx context.Context, pattern string) (map[string]map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	request := "get mapping " + pattern
	res, err := esapi.IndicesGetMappingRequest{Index: []string{pattern}}.Do(ctx, c.es)
	_, text, err := answer(request, res, err)
	if err != nil {
		return nil, err
	}
	var indexes map[string]struct {
		Mappings struct {
			Properties map[string]any `json:"properties"`
		} `json:"mappings"`
	}
	if err := json.Unmarshal(text, &indexes); err != nil {
		return nil, &OutageError{Request: request, Err: fmt.Errorf("the answer is no mapping: %w", err)}
	}
	out := make(map[string]map[string]any, len(indexes))
	for name, ix := range indexes {
		out[name] = ix.Mappings.Properties
	}
	return out, nil
}

// plain returns fields as JSON would decode them.
func plain(fields any) (map[string]any, error) {
	b, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	var out map[string]any
	return out, json.Unmarshal(b, &out)
}

// compare returns the fields that have lacks, and names those that are of another type in it.
func compare(want, have map[string]any, at string) (missing map[string]any, differ []string) {
	missing = map[string]any{}
	for name, w := range want {
		w, _ := w.(map[string]any)
		h, ok := have[name].(map[string]any)
		if !ok {
			missing[name] = w
			continue
		}
		if a, b := kindOf(w), kindOf(h); a != b {
			differ = append(differ, fmt.Sprintf("field %s%s is %s there and %s in the contract", at, name, b, a))
			continue
		}
		inner, _ := w["properties"].(map[string]any)
		old, _ := h["properties"].(map[string]any)
		more, others := compare(inner, old, at+name+".")
		if differ = append(differ, others...); len(more) > 0 {
			missing[name] = map[string]any{"properties": more}
		}
	}
	return missing, differ
}

// kindOf is a field's type as a mapping's answer spells it: the type of an object is left out, and one that is not looked into is another.
func kindOf(m map[string]any) string {
	switch t, _ := m["type"].(string); {
	case t != "" && t != "object":
		return t
	case m["enabled"] == false || m["enabled"] == "false":
		return "an object that is not indexed"
	}
	return "object"
}
