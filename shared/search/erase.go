package search

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"millrace/shared/rawjson"
)

// Limits of one request: a search answers with 10,000 documents at most, where nobody has set another limit.
const (
	mostValues = 500
	mostHits   = 10_000
)

// A Held is a document that FindBy found.
type Held struct {
	Ref
	RootID string // "" where the document has none
}

// FindBy returns the documents of enriched events and dead letters, in all indexes, whose field has one of the values exactly; more says that there may be others. It sees what is refreshed.
// Any failure is an *OutageError.
func (c *Client) FindBy(ctx context.Context, field string, values []string) (found []Held, more bool, err error) {
	for len(values) > 0 {
		part := values[:min(len(values), mostValues)]
		values = values[len(part):]
		hits, err := c.findBy(ctx, field, part)
		if err != nil {
			return nil, false, err
		}
		found, more = append(found, hits...), more || len(hits) == mostHits
	}
	return found, more, nil
}

func (c *Client) findBy(ctx context.Context, field string, values []string) ([]Held, error) {
	list, err := json.Marshal(values)
	if err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	body := rawjson.AppendString([]byte(`{"query":{"terms":{`), field)
	body = append(append(append(body, ':'), list...), `}},"_source":["root_id"]}`...)
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	size, yes := mostHits, true
	res, err := esapi.SearchRequest{
		Index: []string{c.prefix + "enriched-*", c.prefix + "dead-*"}, Body: bytes.NewReader(body), Size: &size, IgnoreUnavailable: &yes, AllowNoIndices: &yes,
	}.Do(ctx, c.es)
	_, text, err := answer("search", res, err)
	if err != nil {
		return nil, err
	}
	var found struct {
		TimedOut bool `json:"timed_out"`
		Shards   struct {
			Failed int `json:"failed"`
		} `json:"_shards"`
		Hits struct {
			Hits []struct {
				Index  string `json:"_index"`
				ID     string `json:"_id"`
				Source struct {
					RootID string `json:"root_id"`
				} `json:"_source"`
			} `json:"hits"`
		} `json:"hits"`
	}
	if json.Unmarshal(text, &found) != nil {
		return nil, &OutageError{Request: "search", Err: errors.New("the answer is no JSON of the expected form")}
	}
	if found.TimedOut || found.Shards.Failed > 0 {
		return nil, &OutageError{Request: "search", Err: fmt.Errorf("the answer is not whole: %d shards failed", found.Shards.Failed)}
	}
	held := make([]Held, len(found.Hits.Hits))
	for i, h := range found.Hits.Hits {
		held[i] = Held{Ref{h.Index, h.ID}, h.Source.RootID}
	}
	return held, nil
}

// Delete deletes the documents and has their indexes refreshed, so that a search after it finds none of them. One that is gone already is deleted. Its error names the first that was not; repeat it as a whole.
func (c *Client) Delete(ctx context.Context, refs []Ref) error {
	for len(refs) > 0 {
		part := refs[:min(len(refs), c.maxItems)]
		refs = refs[len(part):]
		if err := c.delete(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

func (c *Client) delete(ctx context.Context, refs []Ref) error {
	var body []byte
	for _, r := range refs {
		body = append(body, `{"delete":{"_index":`...)
		body = rawjson.AppendString(body, r.Index)
		body = append(body, `,"_id":`...)
		body = rawjson.AppendString(body, r.ID)
		body = append(body, "}}\n"...)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	res, err := esapi.BulkRequest{Body: bytes.NewReader(body), Timeout: c.timeout / 4, Refresh: "true"}.Do(ctx, c.es)
	_, text, err := answer("bulk", res, err)
	if err != nil {
		return err
	}
	var answer struct {
		Items []struct {
			Delete item `json:"delete"`
		} `json:"items"`
	}
	if json.Unmarshal(text, &answer) != nil || len(answer.Items) != len(refs) {
		return &OutageError{Request: "bulk", Err: errors.New("the answer is no JSON of the expected form")}
	}
	for i, it := range answer.Items {
		if d := it.Delete; d.Status != http.StatusOK && d.Status != http.StatusNotFound || d.ID != refs[i].ID {
			reason := ""
			if d.Error != nil {
				reason = ": " + d.Error.describe()
			}
			return fmt.Errorf("delete document %s of %s: status %d%s", refs[i].ID, refs[i].Index, d.Status, reason)
		}
	}
	return nil
}
