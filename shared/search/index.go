package search

import (
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

// An IndexError says that an index cannot be trusted with documents: Elasticsearch guessed types in it, or there is no one index behind its name. Documents that it refuses
// are not at fault. Only a person mends that, and what to do is part of the text; until then nothing should be written to it.
type IndexError struct {
	Index  string
	Reason string // what is wrong and what to do; it tells of mappings, never of an event
}

// Error names the index and the reason.
func (e *IndexError) Error() string { return fmt.Sprintf("index %s: %s", e.Index, e.Reason) }

// PrepareEnriched makes an index for events of one type and model, of which contracts are all known versions, at least one; or looks at the one that is there. An index
// that was made without its template is given the mapping where no field was guessed otherwise. It is safe to repeat. It returns an *IndexError where nothing should be written to
// the index, a *MappingError where that can be written to and has fields otherwise than the contracts (or must not be looked at), and an *OutageError where Elasticsearch cannot be asked.
func (c *Client) PrepareEnriched(ctx context.Context, index string, contracts []*contract.Contract) error {
	if len(contracts) == 0 {
		return errors.New("index for no contract")
	}
	return c.prepare(ctx, index, c.enrichedTemplate(contracts))
}

// PrepareDead is PrepareEnriched for an index of dead letters.
func (c *Client) PrepareDead(ctx context.Context, index string) error {
	return c.prepare(ctx, index, c.deadTemplate())
}

func (c *Client) prepare(ctx context.Context, index string, t template) error {
	want, err := plain(t.Template.Mappings)
	if err != nil {
		return fmt.Errorf("mapping of %s: %w", index, err)
	}
	for range 3 { // it is made by others, or deleted, while we look
		there, err := c.lookAt(ctx, index)
		if err != nil {
			return err
		}
		if there == nil {
			if err := c.makeIndex(ctx, index); err != nil {
				return err
			}
			continue
		}
		return c.suit(ctx, index, want, there)
	}
	return &OutageError{Request: "make index " + index, Err: errors.New("it was there and not there in turns")}
}

// lookAt returns the mapping of the one index that is written to under a name; nil where there is none.
func (c *Client) lookAt(ctx context.Context, index string) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	request := "get index " + index
	res, err := esapi.IndicesGetRequest{Index: []string{index}}.Do(ctx, c.es)
	status, text, err := answer(request, res, err, http.StatusNotFound, http.StatusForbidden)
	switch {
	case err != nil:
		return nil, err
	case status == http.StatusNotFound && typeOf(text) == "index_not_found_exception":
		return nil, nil
	case status == http.StatusForbidden && typeOf(text) == "security_exception":
		return nil, &MappingError{Index: index, Reason: "the key must not look at it, so that guessed types go unseen (view_index_metadata, create_index, manage)"}
	case status != http.StatusOK:
		return nil, &OutageError{Request: request, Status: status, Err: errors.New(errorType(text))}
	}
	var found map[string]struct {
		Aliases map[string]struct {
			Writes *bool `json:"is_write_index"`
		} `json:"aliases"`
		Mappings map[string]any `json:"mappings"`
	}
	if err := json.Unmarshal(text, &found); err != nil {
		return nil, &OutageError{Request: request, Err: fmt.Errorf("the answer is no index: %w", err)}
	}
	names := slices.Sorted(maps.Keys(found))
	if len(names) > 1 {
		return nil, &IndexError{Index: index, Reason: "it is an alias of several indexes (" + event.Cut(strings.Join(names, ", "), maxReason) + "), in which no document can be found again: let it stand for one"}
	}
	if len(names) == 0 {
		return nil, nil
	}
	one := found[names[0]]
	if alias, ok := one.Aliases[index]; ok && alias.Writes != nil && !*alias.Writes {
		return nil, &IndexError{Index: index, Reason: "it is an alias of " + names[0] + " that must not be written to: set is_write_index"}
	}
	if one.Mappings == nil {
		return map[string]any{}, nil
	}
	return one.Mappings, nil
}

// makeIndex makes an index by the template that matches its name. One that was made by others meanwhile is no error.
func (c *Client) makeIndex(ctx context.Context, index string) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	request := "make index " + index
	res, err := esapi.IndicesCreateRequest{Index: index}.Do(ctx, c.es)
	status, text, err := answer(request, res, err, http.StatusBadRequest, http.StatusForbidden)
	if err != nil || status < http.StatusBadRequest || typeOf(text) == "resource_already_exists_exception" {
		return err
	}
	if status == http.StatusForbidden && typeOf(text) == "security_exception" {
		return &MappingError{Index: index, Reason: "the key must not make it (create_index), so that it is made unseen by the first write"}
	}
	if reason, ok := refusal(text); ok && status == http.StatusBadRequest {
		return &IndexError{Index: index, Reason: "it cannot be made: " + reason}
	}
	return &OutageError{Request: request, Status: status, Err: errors.New(errorType(text))}
}

// suit compares the mapping of an index with the wanted one, and ends guessing where nothing was guessed otherwise. Fields that it lacks are the business of extend.
func (c *Client) suit(ctx context.Context, index string, want, there map[string]any) error {
	fields, _ := want["properties"].(map[string]any)
	have, _ := there["properties"].(map[string]any)
	_, differ := compare(fields, have, "")
	slices.Sort(differ)
	others := event.Cut(strings.Join(differ, "; "), maxReason)
	guesses := guessing(want, there, "false", "")
	switch {
	case len(guesses) == 0 && len(differ) == 0:
		return nil
	case len(guesses) == 0:
		return &MappingError{Index: index, Reason: others}
	case len(differ) > 0:
		return &IndexError{Index: index, Reason: "it was made without its template, and types in it are guesses: " + others +
			". Copy its documents to an index made anew (_reindex), or delete it and replay its events; until then they wait"}
	}
	reason, err := c.putMappingBody(ctx, index, want)
	if err != nil {
		return err
	}
	if reason != "" {
		return &IndexError{Index: index, Reason: "it was made without its template, and does not take the mapping: " + reason + ". Delete it, or make it anew; until then its events wait"}
	}
	c.logger.WarnContext(ctx, "index was made without its template and has the mapping now: does another template take its name?", "index", index, "guessing", guesses)
	return nil
}

// guessing returns the objects in which Elasticsearch would guess the types of unknown fields, or refuse these, though they are wanted otherwise; "" for the whole document. An
// object that says nothing is as the one around it, and a document that says nothing guesses.
func guessing(want, there map[string]any, outer, at string) (objects []string) {
	is := outer
	if d, ok := there["dynamic"]; ok {
		is = fmt.Sprint(d)
	} else if at == "" {
		is = "true"
	}
	if d, ok := want["dynamic"]; ok && fmt.Sprint(d) != is {
		objects = append(objects, cmp.Or(at, "the document"))
	}
	fields, _ := want["properties"].(map[string]any)
	have, _ := there["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		w, _ := fields[name].(map[string]any)
		h, _ := have[name].(map[string]any)
		if _, object := w["properties"]; object && h != nil {
			objects = append(objects, guessing(w, h, is, strings.TrimPrefix(at+"."+name, "."))...)
		}
	}
	return objects
}

// typeOf returns the type of the error in the body of a failed request; "" where there is none.
func typeOf(body []byte) string {
	var answer struct {
		Error itemError `json:"error"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	return answer.Error.Type
}
