package search

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"millrace/shared/rawjson"
)

// ErrNoScan is wrapped by the error of a server that knows no points in time, as the embedded one: Versions asks for single documents.
var ErrNoScan = errors.New("the server offers no scan")

const (
	scanPage = 10_000 // the most that Elasticsearch answers at once
	scanKept = "2m"   // how long it keeps a point in time between two requests
)

// inTime is the query for the documents of events that collect took from one time to another.
func inTime(from, to time.Time) []byte {
	text := func(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
	// The field counts milliseconds: what is later within the last one is part of it.
	return fmt.Appendf(nil, `{"range":{"collector_tstamp":{"gte":%q,"lte":%q}}}`, text(from), text(to))
}

// Count returns how many documents of the index are of events that collect took from one time to another, both included. It sees refreshed ones; an index that does not exist
// holds none. Any failure is an *OutageError.
func (c *Client) Count(ctx context.Context, index string, from, to time.Time) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	yes := true
	body := append(append([]byte(`{"query":`), inTime(from, to)...), '}')
	res, err := esapi.CountRequest{Index: []string{index}, Body: bytes.NewReader(body), IgnoreUnavailable: &yes}.Do(ctx, c.es)
	_, text, err := answer("count", res, err)
	if err != nil {
		return 0, err
	}
	var counted struct {
		Count  *int64 `json:"count"`
		Shards struct {
			Failed int `json:"failed"`
		} `json:"_shards"`
	}
	if json.Unmarshal(text, &counted) != nil || counted.Count == nil {
		return 0, &OutageError{Request: "count", Err: errors.New("the answer is no JSON of the expected form")}
	}
	if counted.Shards.Failed > 0 {
		return 0, &OutageError{Request: "count", Err: fmt.Errorf("the answer is not whole: %d shards failed", counted.Shards.Failed)}
	}
	return *counted.Count, nil
}

// Scan calls f with the id and the data_hash ("" where it has none) of each document of the index that is of an event which collect took from one time to another, both included, until f
// fails, in no order. f must not keep the bytes. It sees what is refreshed, as it is at the call; for many documents of an index it costs Elasticsearch a fifth of Versions. An index that does not exist holds none.
// The error is f's, wraps [ErrNoScan], or is an *OutageError: then f may have been called for some.
func (c *Client) Scan(ctx context.Context, index string, from, to time.Time, f func(id, hash []byte) error) (err error) {
	point, err := c.openPoint(ctx, index)
	if err != nil || point == "" {
		return err
	}
	// The server forgets the point by itself where this fails.
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
		defer cancel()
		if res, failed := (esapi.ClosePointInTimeRequest{Body: bytes.NewReader(fmt.Appendf(nil, `{"id":%q}`, point))}).Do(ending, c.es); failed == nil {
			_ = res.Body.Close()
		}
	}()
	var after []byte
	for {
		body := fmt.Appendf(nil, `{"pit":{"id":%q,"keep_alive":%q},"size":%d,"query":%s,"sort":["_shard_doc"],"track_total_hits":false,"_source":false,"docvalue_fields":["data_hash"]`,
			point, scanKept, scanPage, inTime(from, to))
		if after != nil {
			body = append(append(body, `,"search_after":`...), after...)
		}
		page, err := c.page(ctx, append(body, '}'))
		if err != nil {
			return err
		}
		if page.Point != "" {
			point = page.Point
		}
		if page.Hits.Hits == nil {
			return nil // which is how the filter leaves an empty page
		}
		n := 0
		err = rawjson.Elements(page.Hits.Hits, func(_ int, hit []byte) error {
			n++
			id, hash, sort, err := readHit(hit)
			if err != nil {
				return err
			}
			after = append(after[:0], sort...)
			return f(id, hash)
		})
		if err != nil {
			return err
		}
		if n < scanPage {
			return nil
		}
	}
}

// openPoint returns the id of a point in time of the index; "" where there is no such index.
func (c *Client) openPoint(ctx context.Context, index string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	res, err := esapi.OpenPointInTimeRequest{Index: []string{index}, KeepAlive: scanKept}.Do(ctx, c.es)
	status, text, err := answer("open point in time", res, err, http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented)
	if err != nil {
		return "", err
	}
	if status >= 300 {
		var refused struct {
			Error struct {
				Type string `json:"type"`
			} `json:"error"`
		}
		if json.Unmarshal(text, &refused) == nil && refused.Error.Type == "index_not_found_exception" {
			return "", nil
		}
		return "", fmt.Errorf("%w: status %d", ErrNoScan, status)
	}
	var point struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(text, &point) != nil || point.ID == "" {
		return "", &OutageError{Request: "open point in time", Err: errors.New("the answer is no JSON of the expected form")}
	}
	return point.ID, nil
}

// scanned is one page.
type scanned struct {
	Point    string `json:"pit_id"`
	TimedOut bool   `json:"timed_out"`
	Shards   struct {
		Failed int `json:"failed"`
	} `json:"_shards"`
	Hits struct {
		Hits json.RawMessage `json:"hits"`
	} `json:"hits"`
}

func (c *Client) page(ctx context.Context, body []byte) (*scanned, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	res, err := esapi.SearchRequest{
		Body: bytes.NewReader(body), FilterPath: []string{"pit_id", "timed_out", "_shards.failed", "hits.hits._id", "hits.hits.fields", "hits.hits.sort"},
		Header: http.Header{"Accept-Encoding": {"identity"}}, // to compress a page costs the server more than to make it
	}.Do(ctx, c.es)
	_, text, err := answer("scan", res, err)
	if err != nil {
		return nil, err
	}
	page := new(scanned)
	if json.Unmarshal(text, page) != nil {
		return nil, &OutageError{Request: "scan", Err: errors.New("the answer is no JSON of the expected form")}
	}
	if page.TimedOut || page.Shards.Failed > 0 {
		return nil, &OutageError{Request: "scan", Err: fmt.Errorf("the answer is not whole: %d shards failed", page.Shards.Failed)}
	}
	return page, nil
}

var errHit = &OutageError{Request: "scan", Err: errors.New("a hit is not of the expected form")}

// readHit returns the parts of one hit, which alias it.
func readHit(hit []byte) (id, hash, sort []byte, err error) {
	err = rawjson.Members(hit, func(name string, value []byte) error {
		switch name {
		case "_id":
			id = unquoted(value)
		case "sort":
			sort = value
		case "fields":
			return rawjson.Members(value, func(name string, values []byte) error {
				if name != "data_hash" {
					return nil
				}
				return rawjson.Elements(values, func(_ int, value []byte) error {
					hash = unquoted(value)
					return nil
				})
			})
		}
		return nil
	})
	if err != nil || len(id) == 0 || len(sort) == 0 {
		return nil, nil, nil, errHit
	}
	return id, hash, sort, nil
}

// unquoted returns the text of a JSON string.
func unquoted(value []byte) []byte {
	if n := len(value); n >= 2 && value[0] == '"' && bytes.IndexByte(value, '\\') < 0 {
		return value[1 : n-1]
	}
	text, _ := rawjson.Unquote(value)
	return []byte(text)
}
