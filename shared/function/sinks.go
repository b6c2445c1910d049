package function

import (
	"context"
	"errors"
	"slices"

	"github.com/IBM/sarama"

	"millrace/shared/delivery"
	"millrace/shared/event"
	"millrace/shared/ingress"
	"millrace/shared/kafka"
	"millrace/shared/tracing"
)

// Sink is where a function's events go.
//
// Publish is [delivery.Publisher]'s; its errors that wrap [delivery.ErrBusy] or [delivery.ErrTooLarge] say that the event will not be written. Durability says
// what a nil error means, as found, and does not block for long. Ready is nil once the sink was seen; its error says what is missing.
type Sink interface {
	delivery.Publisher
	Durability() string
	Ready(ctx context.Context) error
}

// Sinks are the sinks of a function. Kafka sinks on the same brokers share a producer. It is not safe for concurrent use; the sinks are.
type Sinks struct {
	o      kafka.ProducerOptions
	tracer *tracing.Tracer // nil: no spans
	open   []Sink
	kafka  []producer
	http   []*ingress.Sink
}

type producer struct {
	brokers []string
	*kafka.Producer
}

// NewSinks returns an empty set of sinks, whose producers will have these settings; those over HTTP take the timeout.
func NewSinks(o kafka.ProducerOptions) *Sinks { return &Sinks{o: o} }

// Open returns the sink of a target. It returns at once, also while the target is away.
func (s *Sinks) Open(t Target) Sink {
	var sink Sink
	if t.Address != nil {
		over := ingress.New(t.Address, ingress.Options{Timeout: s.o.Timeout})
		s.http, sink = append(s.http, over), over
	} else {
		sink = s.topic(t)
	}
	s.open = append(s.open, sink)
	if s.tracer != nil {
		return tracedSink{sink, s.tracer, t.place()}
	}
	return sink
}

// tracedSink makes a span of each publish.
type tracedSink struct {
	Sink
	tracer *tracing.Tracer
	to     tracing.Place
}

// Publish implements [delivery.Publisher].
func (s tracedSink) Publish(ctx context.Context, events []*event.Event) []error {
	ctx, span := s.tracer.Send(ctx, s.to, events)
	errs := s.Sink.Publish(ctx, events)
	span.Sent(errs, len(events))
	return errs
}

// place is what spans call the target.
func (t Target) place() tracing.Place {
	if t.Address != nil {
		return tracing.Place{System: "http", Destination: t.Address.Host + t.Address.Path}
	}
	return tracing.Place{System: "kafka", Destination: t.Topic}
}

func (s *Sinks) topic(t Target) Sink {
	for _, p := range s.kafka {
		if slices.Equal(p.brokers, t.Brokers) {
			return p.Sink(t.Topic)
		}
	}
	o := s.o
	o.Config = func(c *sarama.Config) {
		if s.o.Config != nil {
			s.o.Config(c)
		}
		t.Security.Apply(c)
	}
	p := kafka.NewProducer(t.Brokers, o)
	s.kafka = append(s.kafka, producer{t.Brokers, p})
	return p.Sink(t.Topic)
}

// Ready is nil once all sinks were seen.
func (s *Sinks) Ready(ctx context.Context) error {
	var errs []error
	for _, sink := range s.open {
		errs = append(errs, sink.Ready(ctx))
	}
	return errors.Join(errs...)
}

// Close flushes what is handed over and not confirmed.
func (s *Sinks) Close(ctx context.Context) error {
	var errs []error
	for _, p := range s.kafka {
		errs = append(errs, p.Close(ctx))
	}
	for _, h := range s.http {
		errs = append(errs, h.Close(ctx))
	}
	return errors.Join(errs...)
}
