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

// FindBy returns the documents of enriched events and dead letters, in all indexes, whose field has one of the values exactly, page by page to the end. It sees what is refreshed, page by page too. more
// says that one root id, or none, has more documents than the 10,000 of a page, so that there may be others: they are found once these are deleted. Any failure is an *OutageError.
func (c *Client) FindBy(ctx context.Context, field string, values []string) (found []Held, more bool, err error) {
	for len(values) > 0 {
		part := values[:min(len(values), mostValues)]
		values = values[len(part):]
		query := append(rawjson.AppendString([]byte(`{"terms":{`), field), ':')
		list, err := json.Marshal(part)
		if err != nil {
			return nil, false, fmt.Errorf("search: %w", err)
		}
		hits, all, err := c.pages(ctx, append(append(query, list...), "}}"...))
		if err != nil {
			return nil, false, err
		}
		found, more = append(found, hits...), more || !all
	}
	return found, more, nil
}

// pages returns the documents that match, in the order of their root ids. A page ends between two of these, since what has the mark's own would be left out behind it; all is false where a whole page is of
// one, of which there may be more.
func (c *Client) pages(ctx context.Context, query []byte) (found []Held, all bool, err error) {
	all = true
	for after := ""; ; {
		body := fmt.Appendf(nil, `{"query":%s,"sort":[{"root_id":{"order":"asc","unmapped_type":"keyword"}}],"_source":["root_id"],"track_total_hits":false%s}`, query, after)
		hits, err := c.events(ctx, body, c.maxHits)
		if err != nil {
			return nil, false, err
		}
		for _, h := range hits {
			if len(h.Sort) != 1 {
				return nil, false, &OutageError{Request: "search", Err: errors.New("a hit has no sort value")}
			}
		}
		n := len(hits)
		full := n == c.maxHits
		if full {
			for n > 0 && bytes.Equal(hits[n-1].Sort[0], hits[len(hits)-1].Sort[0]) {
				n--
			}
			if n == 0 {
				n, all = len(hits), false
			}
		}
		for _, h := range hits[:n] {
			found = append(found, Held{Ref{h.Index, h.ID}, h.Source.RootID})
		}
		if !full || string(hits[n-1].Sort[0]) == "null" { // what has no root id comes last
			return found, all, nil
		}
		after = `,"search_after":[` + string(hits[n-1].Sort[0]) + "]"
	}
}

// Delete deletes the documents and has their indexes refreshed, so that a search after it finds none of them. One that is gone already is deleted. Its error names the index of the first that was not; repeat it as a whole.
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
			// Without the document's id, which can be the event's: the error goes into a report that outlives it.
			return fmt.Errorf("delete a document of %s: status %d%s", refs[i].Index, d.Status, reason)
		}
	}
	return nil
}
