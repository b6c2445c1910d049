package search

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"millrace/shared/rawjson"
)

// maxID is the length of the longest _id that Elasticsearch takes, in bytes. A longer one makes it refuse the whole
// request, not the one document.
const maxID = 512

// An Operation is one document to write.
type Operation struct {
	Index   string
	ID      string // 1 to 512 bytes
	Version int64  // 0: create, which fails where the id exists; above 0: index with this external version
	Source  []byte // one JSON object
}

// Status says what became of one document.
type Status int

const (
	// Unavailable means not written as far as is known, because of the server's state and not the document's: nothing may be
	// counted against it. The zero value, so that a document of which nothing was heard has it.
	Unavailable Status = iota
	// Done means written, and Elasticsearch said so.
	Done
	// Conflict means that a document with that id is there (create), or one of the same or a higher version.
	Conflict
	// Permanent means refused for what it contains; the same document will be refused again.
	Permanent
	// Refused means refused alone, for a reason that is not known to be permanent.
	Refused
)

// String returns the status in lower case.
func (s Status) String() string {
	switch s {
	case Unavailable:
		return "unavailable"
	case Done:
		return "done"
	case Conflict:
		return "conflict"
	case Permanent:
		return "permanent"
	case Refused:
		return "refused"
	}
	return fmt.Sprintf("status %d", int(s))
}

// A Result is what became of one Operation.
type Result struct {
	Status Status
	HTTP   int    // the item's status in Elasticsearch's answer; 0 where there was none
	Type   string // Elasticsearch's error type; "" where there was no error
	Err    error  // nil exactly where Status is Done; names error types and fields, never a value of the document
	Own    bool   // with Unavailable: this index is at fault (closed, blocked, without a shard), and others may be well
}

// Bulk writes the operations, in as many requests as their size and number ask for, one after the other, and returns one
// result for each, in their order. It returns an error, an *OutageError, where a request as a whole failed; then the
// documents of that request and of those not yet sent are Unavailable, while results of earlier requests stand. Bulk is
// safe to repeat as a whole. It blocks until the last answer, the request's timeout or the end of ctx.
//
// A request that is refused as a whole for its content (400) or size (413) is sent again in halves, so that one document
// cannot take the others with it.
func (c *Client) Bulk(ctx context.Context, ops []Operation) ([]Result, error) {
	results := make([]Result, len(ops))
	var (
		part []int
		body []byte
	)
	for i := range ops {
		source, bad := check(&ops[i])
		if bad != nil {
			results[i] = Result{Status: Permanent, Type: bad.kind, Err: bad}
			continue
		}
		start := len(body)
		body = appendOperation(body, &ops[i], source)
		if len(part) > 0 && (len(body) > c.maxBytes || len(part) >= c.maxItems) {
			if err := c.send(ctx, ops, part, body[:start], results); err != nil {
				return abandon(results, err), err
			}
			body = append(body[:0], body[start:]...)
			part = part[:0]
		}
		part = append(part, i)
	}
	if len(part) > 0 {
		if err := c.send(ctx, ops, part, body, results); err != nil {
			return abandon(results, err), err
		}
	}
	return results, nil
}

// abandon gives every document of which nothing was heard the outage as its error.
func abandon(results []Result, err error) []Result {
	for i := range results {
		if results[i].Status == Unavailable && results[i].Err == nil {
			results[i].Err = err
		}
	}
	return results
}

// invalidError is a document that must not be sent, since it would break the whole request.
type invalidError struct{ kind, text string }

func (e *invalidError) Error() string { return e.text }

// check returns the document on one line, or says why it cannot be sent.
func check(op *Operation) ([]byte, *invalidError) {
	switch {
	case op.Index == "":
		return nil, &invalidError{"invalid_index", "document without an index"}
	case op.ID == "" || len(op.ID) > maxID:
		return nil, &invalidError{"invalid_id", fmt.Sprintf("an id has 1 to %d bytes, this one %d", maxID, len(op.ID))}
	case op.Version < 0:
		return nil, &invalidError{"invalid_version", "a version must not be negative"}
	}
	source := rawjson.Trim(op.Source)
	if len(source) == 0 || source[0] != '{' {
		return nil, &invalidError{"invalid_source", "a document must be a JSON object"}
	}
	if bytes.IndexByte(source, '\n') < 0 && bytes.IndexByte(source, '\r') < 0 {
		return source, nil
	}
	if !rawjson.Valid(source) {
		return nil, &invalidError{"invalid_source", "the document is no JSON"}
	}
	return rawjson.Compact(nil, source), nil
}

func appendOperation(dst []byte, op *Operation, source []byte) []byte {
	if op.Version == 0 {
		dst = append(dst, `{"create":{"_index":`...)
	} else {
		dst = append(dst, `{"index":{"_index":`...)
	}
	dst = rawjson.AppendString(dst, op.Index)
	dst = append(dst, `,"_id":`...)
	dst = rawjson.AppendString(dst, op.ID)
	if op.Version > 0 {
		dst = fmt.Appendf(dst, `,"version":%d,"version_type":"external"`, op.Version)
	}
	dst = append(dst, "}}\n"...)
	dst = append(dst, source...)
	return append(dst, '\n')
}

// send sends one request, body being the operations of part, and fills the results of part.
func (c *Client) send(ctx context.Context, ops []Operation, part []int, body []byte, results []Result) error {
	status, text, err := c.request(ctx, body)
	if err != nil {
		return err
	}
	if status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge {
		if len(part) == 1 {
			kind := errorType(text)
			results[part[0]] = Result{Status: Refused, HTTP: status, Type: kind, Err: fmt.Errorf("a request with this document alone was refused: status %d: %s", status, kind)}
			return nil
		}
		for _, half := range [][]int{part[:len(part)/2], part[len(part)/2:]} {
			var again []byte
			for _, i := range half {
				source, bad := check(&ops[i])
				if bad != nil {
					return bad // cannot be: it was checked on the way here
				}
				again = appendOperation(again, &ops[i], source)
			}
			if err := c.send(ctx, ops, half, again, results); err != nil {
				return err
			}
		}
		return nil
	}
	items, err := decodeItems(text, ops, part)
	if err != nil {
		return &OutageError{Request: "bulk", Err: err}
	}
	for n, i := range part {
		results[i] = classify(items[n])
	}
	return nil
}

func (c *Client) request(ctx context.Context, body []byte) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	// Elasticsearch waits a minute for a shard that is nowhere: then the documents of all other indexes would be without an answer.
	res, err := esapi.BulkRequest{Body: bytes.NewReader(body), Timeout: c.timeout / 4}.Do(ctx, c.es)
	return answer("bulk", res, err, http.StatusBadRequest, http.StatusRequestEntityTooLarge)
}

type item struct {
	Index  string     `json:"_index"`
	ID     string     `json:"_id"`
	Status int        `json:"status"`
	Error  *itemError `json:"error"`
}

type itemError struct {
	Type   string     `json:"type"`
	Reason string     `json:"reason"`
	Cause  *itemError `json:"caused_by"`
}

// decodeItems reads an answer and insists that it is one to this request: as many items, in this order, each with its
// status.
func decodeItems(text []byte, ops []Operation, part []int) ([]item, error) {
	var answer struct {
		Items []map[string]item `json:"items"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, errors.New("the answer is no JSON of the expected form")
	}
	if len(answer.Items) != len(part) {
		return nil, fmt.Errorf("the answer has %d items for %d documents", len(answer.Items), len(part))
	}
	items := make([]item, len(part))
	for n, i := range part {
		action := "create"
		if ops[i].Version > 0 {
			action = "index"
		}
		it, ok := answer.Items[n][action]
		if !ok || it.ID != ops[i].ID || it.Status == 0 {
			return nil, fmt.Errorf("item %d of the answer is not about document %d of the request", n, n)
		}
		items[n] = it
	}
	return items, nil
}

// classify maps one item to its result. What is not known is Refused, and so retried.
func classify(it item) Result {
	if it.Error == nil {
		if it.Status == http.StatusOK || it.Status == http.StatusCreated {
			return Result{Status: Done, HTTP: it.Status}
		}
		return Result{Status: Unavailable, HTTP: it.Status, Err: fmt.Errorf("item status %d without an error", it.Status)}
	}
	r := Result{Status: Refused, HTTP: it.Status, Type: it.Error.Type, Err: errors.New(it.Error.describe())}
	switch {
	case it.Status == http.StatusConflict && it.Error.Type == "version_conflict_engine_exception":
		r.Status = Conflict
	case it.Status == http.StatusUnauthorized, it.Status == http.StatusForbidden, it.Status == http.StatusNotFound,
		it.Status == http.StatusTooManyRequests, it.Status >= 500, unavailableTypes[it.Error.Type]:
		r.Status, r.Own = Unavailable, ownTypes[it.Error.Type]
		r.Err = fmt.Errorf("index %s: %s", it.Index, it.Error.advise(it.Status))
	case it.Status == http.StatusBadRequest && (permanentTypes[it.Error.Type] || it.Error.immenseTerm()):
		r.Status = Permanent
	}
	return r
}

// unavailableTypes are errors of one item that speak of an index or the cluster, whatever their status.
var unavailableTypes = map[string]bool{
	"cluster_block_exception":                 true, // flood stage, read-only, no master
	"index_closed_exception":                  true,
	"index_not_found_exception":               true,
	"es_rejected_execution_exception":         true,
	"circuit_breaking_exception":              true,
	"unavailable_shards_exception":            true,
	"process_cluster_event_timeout_exception": true,
	"validation_exception":                    true, // too many shards for the cluster
	"index_create_block_exception":            true,
	"security_exception":                      true,
}

// ownTypes are those of unavailableTypes that one index can have alone. A full disk blocks many at once, but not those whose shards are on others.
var ownTypes = map[string]bool{
	"cluster_block_exception":      true,
	"index_closed_exception":       true,
	"unavailable_shards_exception": true,
}

// blockInReason finds what an error says of the blocks on an index: their names are Elasticsearch's own.
var blockInReason = regexp.MustCompile(`\[[A-Z_]+/\d+/([A-Za-z0-9 ()/-]{1,80})`)

// advise is describe with what an operator can do about an index, for errors that are an index's or the cluster's.
func (e *itemError) advise(status int) string {
	text, advice := e.describe(), advices[e.Type]
	if e.Type == "cluster_block_exception" {
		if m := blockInReason.FindStringSubmatch(e.Reason); m != nil {
			text += " (" + m[1] + ")"
		}
		if status == http.StatusTooManyRequests {
			advice = "a disk is fuller than Elasticsearch's flood stage: make room, and the index can be written to again"
		}
	}
	if advice == "" {
		return text
	}
	return text + ": " + advice
}

// advices say what to do about an error that is an index's or the cluster's.
var advices = map[string]string{
	"cluster_block_exception":         "it has a block: take it away (PUT <index>/_settings, index.blocks.*: null)",
	"index_closed_exception":          "it is closed: POST <index>/_open",
	"index_not_found_exception":       "it is gone, and made anew before the next attempt",
	"unavailable_shards_exception":    "its primary shard is nowhere: GET _cluster/allocation/explain says why",
	"es_rejected_execution_exception": "Elasticsearch is overloaded: its queue of writes is full",
	"circuit_breaking_exception":      "Elasticsearch is short of memory",
	"validation_exception":            "has the cluster as many shards as it may have (cluster.max_shards_per_node)? Delete old indexes",
	"index_create_block_exception":    "new indexes are blocked (cluster.blocks.create_index)",
	"security_exception":              "the key or user lacks a right, or is not valid",
}

// permanentTypes is the closed list of errors that a document causes by what it contains.
var permanentTypes = map[string]bool{
	"document_parsing_exception":       true,
	"mapper_parsing_exception":         true, // its name before 8.9
	"strict_dynamic_mapping_exception": true,
}

func (e *itemError) immenseTerm() bool {
	return e.Type == "illegal_argument_exception" && e.Cause != nil && e.Cause.Type == "max_bytes_length_exceeded_exception"
}

// fieldInReason finds the mapped field an error speaks of. The rest of a reason may quote the document.
var fieldInReason = regexp.MustCompile(`failed to parse field \[([A-Za-z0-9_.-]{1,200})\] of type \[([a-z_]{1,40})\]`)

// describe says what went wrong without quoting the document: the types of the error and its causes, and the field.
func (e *itemError) describe() string {
	var b strings.Builder
	b.WriteString(e.Type)
	if m := fieldInReason.FindStringSubmatch(e.Reason); m != nil {
		fmt.Fprintf(&b, " in field %s of type %s", m[1], m[2])
	}
	for c, n := e.Cause, 0; c != nil && n < 5; c, n = c.Cause, n+1 {
		b.WriteString(": " + c.Type)
	}
	return b.String()
}

// errorType returns the error type in the body of a failed request, or says that there is none.
func errorType(body []byte) string {
	var answer struct {
		Error json.RawMessage `json:"error"`
	}
	var e itemError
	if json.Unmarshal(body, &answer) != nil || json.Unmarshal(answer.Error, &e) != nil || e.Type == "" {
		return "no error of Elasticsearch's form"
	}
	return e.advise(0)
}
