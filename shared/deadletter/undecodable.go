package deadletter

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"millrace/shared/delivery"
	"millrace/shared/event"
)

// Undecodable returns what an intake does with a request that is no CloudEvent: its body becomes a dead letter of this
// source, published to "to", of the type and with the attributes that can be read in the header; else its type is event.TypeUnparsed. nil means that it is
// durable. reason is told to people, and must quote no values.
//
// The id is the hash of the request's event headers and its body, so that the same request sent again is the same dead letter. The
// content type is one of bytes: the request's own may say "structured CloudEvent", and would be believed by whoever reads the record.
func Undecodable(to delivery.Publisher, source, stage string, clock func() time.Time) func(context.Context, http.Header, []byte, error) error {
	return func(ctx context.Context, header http.Header, body []byte, reason error) error {
		now := clock()
		var id bytes.Buffer
		for _, name := range slices.Sorted(maps.Keys(header)) {
			if lower := strings.ToLower(name); strings.HasPrefix(lower, "ce-") || lower == "content-type" {
				id.WriteString(lower + "\x00" + strings.Join(header[name], "\x00") + "\x00")
			}
		}
		id.Write(body)
		e := ce.New()
		e.SetType(event.TypeUnparsed) // where the header names none
		e.SetSource(source)
		e.SetID(event.Hash(id.Bytes()))
		e.SetDataContentType("application/octet-stream")
		e.DataEncoded = body
		event.AddFromHeader(&e, header, event.MaxSize)
		if err := event.Derive(&e, now); err != nil {
			return err
		}
		letter := event.DeadLetter(&e, event.Failure{
			Stage: stage, Code: event.CodeInvalidCloudEvent, Message: reason.Error(), Time: now,
			Source: event.DecodeHeader(header.Get("Ce-Source")), ID: event.DecodeHeader(header.Get("Ce-Id")),
		})
		errs := publish(ctx, to, []*event.Event{letter})
		if len(errs) != 1 {
			return ErrNotConfirmed
		}
		return errs[0]
	}
}
