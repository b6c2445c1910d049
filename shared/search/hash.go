package search

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"millrace/shared/rawjson"
)

// A Ref names one document.
type Ref struct{ Index, ID string }

// A Stored is what Hashes found under a Ref.
type Stored struct {
	Found bool
	Hash  string // the document's data_hash; "" where it has none
	Err   error  // an *OutageError where its index could not be asked; others' may have been
}

// Hashes returns, in the order of refs, whether each document is there and the data_hash it holds. It sees every
// confirmed write at once, refreshed or not. A failure of the request is an *OutageError; that of one document, whose index is closed or without a shard, is its own.
func (c *Client) Hashes(ctx context.Context, refs []Ref) ([]Stored, error) {
	stored := make([]Stored, 0, len(refs))
	for len(refs) > 0 {
		n := min(len(refs), c.maxItems)
		part, err := c.hashes(ctx, refs[:n])
		if err != nil {
			return nil, err
		}
		stored = append(stored, part...)
		refs = refs[n:]
	}
	return stored, nil
}

func (c *Client) hashes(ctx context.Context, refs []Ref) ([]Stored, error) {
	docs, err := c.mget(ctx, refs)
	if err != nil {
		return nil, err
	}
	stored := make([]Stored, len(refs))
	for i, d := range docs {
		if d.Error != nil {
			stored[i].Err = d.failure()
			continue
		}
		stored[i] = Stored{Found: d.Found, Hash: d.Source.Hash}
	}
	return stored, nil
}

// A Version is what Versions found under a Ref.
type Version struct {
	Found  bool
	Hash   string // the document's data_hash; "" where it has none
	Number int64  // the document's version: 1 for one that was created, its replaycount + 1 for one that a replay wrote
}

// Versions is Hashes with the documents' versions, for whoever asks before anything is written: an index that does not exist holds no documents, in place of
// an outage, and the failure of one document is that of all.
func (c *Client) Versions(ctx context.Context, refs []Ref) ([]Version, error) {
	found := make([]Version, 0, len(refs))
	for len(refs) > 0 {
		n := min(len(refs), c.maxItems)
		docs, err := c.mget(ctx, refs[:n])
		if err != nil {
			return nil, err
		}
		for _, d := range docs {
			switch {
			case d.Error != nil && d.Error.Type == "index_not_found_exception":
				found = append(found, Version{})
			case d.Error != nil:
				return nil, d.failure()
			default:
				found = append(found, Version{Found: d.Found, Hash: d.Source.Hash, Number: d.Version})
			}
		}
		refs = refs[n:]
	}
	return found, nil
}

type storedDocument struct {
	Index   string     `json:"_index"`
	ID      string     `json:"_id"`
	Version int64      `json:"_version"`
	Found   bool       `json:"found"`
	Error   *itemError `json:"error"`
	Source  struct {
		Hash string `json:"data_hash"`
	} `json:"_source"`
}

// failure is why a document could not be looked for.
func (d *storedDocument) failure() error {
	return &OutageError{Request: "mget", Err: fmt.Errorf("index %s: %s", d.Index, d.Error.advise(0))}
}

// mget returns what the server says of each document, in the order of refs.
func (c *Client) mget(ctx context.Context, refs []Ref) ([]storedDocument, error) {
	body := []byte(`{"docs":[`)
	for i, r := range refs {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, `{"_index":`...)
		body = rawjson.AppendString(body, r.Index)
		body = append(body, `,"_id":`...)
		body = rawjson.AppendString(body, r.ID)
		body = append(body, `,"_source":["data_hash"]}`...)
	}
	body = append(body, `]}`...)

	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	res, err := esapi.MgetRequest{Body: bytes.NewReader(body)}.Do(ctx, c.es)
	_, text, err := answer("mget", res, err)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Docs []storedDocument `json:"docs"`
	}
	if json.Unmarshal(text, &answer) != nil {
		return nil, &OutageError{Request: "mget", Err: errors.New("the answer is no JSON of the expected form")}
	}
	if len(answer.Docs) != len(refs) {
		return nil, &OutageError{Request: "mget", Err: fmt.Errorf("the answer has %d documents for %d", len(answer.Docs), len(refs))}
	}
	for i, d := range answer.Docs {
		if d.ID != refs[i].ID {
			return nil, &OutageError{Request: "mget", Err: fmt.Errorf("document %d of the answer is another one", i)}
		}
	}
	return answer.Docs, nil
}
