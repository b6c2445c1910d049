package search

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"millrace/shared/rawjson"
)

// A Found is a document of an event.
type Found struct {
	Ref
	Version   int64     // 1, or the replaycount that wrote it + 1
	Hash      string    // of the event's data
	Collected time.Time // when collect took the event; the zero Time where the document has none
}

// mostFound bounds the documents that Find returns: an event has one, and one more for each day it came anew and each failure.
const mostFound = 100

// Find returns the documents of an event by its root id, in all indexes of enriched events and dead letters, at most a hundred. It sees what is refreshed. Any failure is an
// *OutageError.
func (c *Client) Find(ctx context.Context, rootID string) ([]Found, error) {
	body := rawjson.AppendString([]byte(`{"query":{"term":{"root_id":`), rootID)
	body = append(body, `}},"sort":[{"collector_tstamp":{"order":"asc","unmapped_type":"date"}}],"version":true,"_source":["data_hash","collector_tstamp"]}`...)
	hits, err := c.events(ctx, body, mostFound)
	if err != nil {
		return nil, err
	}
	out := make([]Found, len(hits))
	for i, h := range hits {
		out[i] = Found{Ref: Ref{h.Index, h.ID}, Version: h.Version, Hash: h.Source.Hash}
		if t, err := time.Parse(time.RFC3339, h.Source.Collected); err == nil {
			out[i].Collected = t
		}
	}
	return out, nil
}

// hit is a document that a search found, as far as it was asked for.
type hit struct {
	Index   string `json:"_index"`
	ID      string `json:"_id"`
	Version int64  `json:"_version"`
	Source  struct {
		RootID    string `json:"root_id"`
		Hash      string `json:"data_hash"`
		Collected string `json:"collector_tstamp"`
	} `json:"_source"`
	Sort []json.RawMessage `json:"sort"`
}

// events returns the hits of one search over all indexes of enriched events and dead letters. An answer that some shard is missing from is an outage.
func (c *Client) events(ctx context.Context, body []byte, size int) ([]hit, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	yes := true
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
			Hits []hit `json:"hits"`
		} `json:"hits"`
	}
	if json.Unmarshal(text, &found) != nil {
		return nil, &OutageError{Request: "search", Err: errors.New("the answer is no JSON of the expected form")}
	}
	if found.TimedOut || found.Shards.Failed > 0 {
		return nil, &OutageError{Request: "search", Err: fmt.Errorf("the answer is not whole: %d shards failed", found.Shards.Failed)}
	}
	return found.Hits.Hits, nil
}
