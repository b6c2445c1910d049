package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	ce "github.com/cloudevents/sdk-go/v2/event"

	"millrace/shared/contract"
	"millrace/shared/delivery"
	"millrace/shared/event"
	"millrace/shared/kafka"
)

// sinks are the two topics, through one producer where their brokers are the same.
type sinks struct {
	enriched, dead *kafka.Sink
	producers      []*kafka.Producer
}

// openSinks returns at once, also while Kafka is away: the producers connect by themselves.
func openSinks(c *config, logger *slog.Logger) *sinks {
	o := kafka.ProducerOptions{ClientID: "millrace-" + stage, Timeout: c.SendTimeout, Buffer: c.InFlight, Logger: logger}
	p := kafka.NewProducer(c.sink.brokers, o)
	s := &sinks{enriched: p.Sink(c.sink.topic), producers: []*kafka.Producer{p}}
	if !slices.Equal(c.sink.brokers, c.dead.brokers) {
		p = kafka.NewProducer(c.dead.brokers, o)
		s.producers = append(s.producers, p)
	}
	s.dead = p.Sink(c.dead.topic)
	return s
}

// ready is nil once both topics are seen.
func (s *sinks) ready(ctx context.Context) error {
	return errors.Join(s.enriched.Ready(ctx), s.dead.Ready(ctx))
}

// close flushes what is handed over and not confirmed.
func (s *sinks) close(ctx context.Context) error {
	var errs []error
	for _, p := range s.producers {
		errs = append(errs, p.Close(ctx))
	}
	return errors.Join(errs...)
}

// watch looks at the contracts every interval until ctx ends.
func watch(ctx context.Context, contracts *contract.Source, interval time.Duration, report func(bool, error)) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	contracts.Watch(ctx, ticker.C, report)
	return nil
}

// keepUndecodable returns what the intake does with a request that is no CloudEvent: its body becomes a dead letter. The id is the hash of the body and
// of the request's event headers, so that the same request sent again is the same dead letter. The content type is one of bytes: the request's
// own may say "structured CloudEvent", and would be believed by whoever reads the record.
func keepUndecodable(to delivery.Publisher, clock func() time.Time) func(context.Context, http.Header, []byte, error) error {
	return func(ctx context.Context, header http.Header, body []byte, reason error) error {
		now := clock()
		var id bytes.Buffer
		for _, name := range slices.Sorted(maps.Keys(header)) {
			if name = strings.ToLower(name); strings.HasPrefix(name, "ce-") || name == "content-type" {
				id.WriteString(name + "\x00" + header.Get(name) + "\x00")
			}
		}
		id.Write(body)
		e := ce.New()
		e.SetType(event.TypeUnparsed)
		e.SetSource("/millrace/" + stage)
		e.SetID(event.Hash(id.Bytes()))
		e.SetDataContentType("application/octet-stream")
		e.DataEncoded = body
		if err := event.Derive(&e, now); err != nil {
			return err
		}
		letter := event.DeadLetter(&e, event.Failure{Stage: stage, Code: event.CodeInvalidCloudEvent, Message: reason.Error(), Time: now})
		errs := to.Publish(ctx, []*event.Event{letter})
		if len(errs) != 1 {
			return errNoResult
		}
		return errs[0]
	}
}
