package apply

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"millrace/functions/replay/internal/rehearsal"
	"millrace/shared/event"
	"millrace/shared/tracecontext"
)

// HTTPCollector is collect by its address.
type HTTPCollector struct {
	URL    string // without a path
	Client *http.Client
}

// Post sends a dead letter of collect's to collect again: what the producer sent, under an Idempotency-Key of the letter's, so that what has no id of its
// own has the same one each time. What was refused is answered as dead; an answer that is none, or 503, is an error.
func (c *HTTPCollector) Post(ctx context.Context, letter *event.Event) (dead bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	header, body, path := http.Header{}, letter.Data(), "/api/v1/events"
	switch rehearsal.Form(letter) {
	case rehearsal.FormJSON:
		path = "/api/v1/collect"
		header.Set("Content-Type", "application/json")
		header.Set("Idempotency-Key", "replay-"+event.Attr(letter, event.RootID))
	case rehearsal.FormStructured:
		header.Set("Content-Type", event.MediaStructured)
	case rehearsal.FormBinary:
		e := &event.Event{Context: letter.Context.Clone(), DataEncoded: letter.DataEncoded}
		for name := range letter.Extensions() {
			if event.Reserved(name) {
				e.SetExtension(name, nil)
			}
		}
		if body, err = event.EncodeHTTP(e, header); err != nil {
			return false, fmt.Errorf("%w: %w", ErrRefused, err)
		}
	case rehearsal.FormNone:
		return false, fmt.Errorf("%w: it is no event in a form that collect takes", ErrRefused)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(c.URL, "/")+path, bytes.NewReader(body))
	if err != nil {
		return false, fmt.Errorf("collect: %w", err)
	}
	req.Header = header
	tracecontext.Of(letter).SetHeader(header) // which it may have of its first request only
	res, err := c.Client.Do(req)
	if err != nil {
		return false, fmt.Errorf("collect: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return false, fmt.Errorf("collect's answer: %w", err)
	}
	var answer struct {
		Receipts []struct {
			Status string `json:"status"`
		} `json:"receipts"`
	}
	switch err := json.Unmarshal(text, &answer); {
	case res.StatusCode == http.StatusServiceUnavailable || res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500:
		return false, fmt.Errorf("collect answers %s", res.Status)
	case res.StatusCode == http.StatusBadRequest || res.StatusCode == http.StatusRequestEntityTooLarge || res.StatusCode == http.StatusUnsupportedMediaType:
		return false, fmt.Errorf("%w: collect answers %s", ErrRefused, res.Status)
	case res.StatusCode >= 300 && res.StatusCode != http.StatusUnprocessableEntity: // of the address or the credentials: no other event would fare better
		return false, fmt.Errorf("collect answers %s: is --collect its address?", res.Status)
	case err != nil || len(answer.Receipts) != 1:
		return false, fmt.Errorf("collect answers %s without a receipt", res.Status)
	}
	switch status := answer.Receipts[0].Status; status {
	case "accepted":
		return false, nil
	case "dead_lettered":
		return true, nil
	default:
		return false, fmt.Errorf("collect's receipt says %s", status)
	}
}
