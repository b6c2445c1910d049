package broker

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"millrace/knative/local/internal/manifest"
	"millrace/shared/event"
	"millrace/shared/kafka"
)

// maxIngress is the largest body of a request; Knative's answer to more is 503 too.
const maxIngress = 1 << 20

// maxAttributes bounds an event's attributes as they stand in headers, in bytes: collect's 32 KiB and room for what functions add. A cluster's proxies
// on the way to a subscriber take 60 KiB at most, and an event beyond that would go from one dead letter sink to the next; who sends it can still be told.
// It is not Knative's own limit: what its receiver takes was not observed.
const maxAttributes = 48 << 10

// Ingress returns the handler of the Brokers' own way in, POST /NAMESPACE/BROKER with one CloudEvent in binary or structured mode. It answers 202 with an empty body once
// the event is durable in the Broker's topic; 400 for what is no CloudEvent, 431 for one with more than 48 KiB of attributes, 404 for a Broker that does not exist, 405 for other methods, and 503 where Kafka
// does not take the event, which may have been written all the same, or where it is larger than 1 MB. Reasons are in the body.
//
// It may be called while Run runs; before and after, it answers 503.
func (e *Eventing) Ingress() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status, err := e.take(r); err != nil {
			if status == http.StatusMethodNotAllowed {
				w.Header().Set("Allow", http.MethodPost)
			}
			http.Error(w, err.Error(), status)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})
}

func (e *Eventing) take(r *http.Request) (status int, err error) {
	if r.Method != http.MethodPost {
		return http.StatusMethodNotAllowed, fmt.Errorf("%s is not allowed here; send events by POST", r.Method)
	}
	namespace, name, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	to, ok := e.brokers[manifest.Key{Namespace: namespace, Name: name}]
	if !ok {
		return http.StatusNotFound, fmt.Errorf("there is no Broker %s/%s", namespace, name)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxIngress+1))
	if err != nil {
		return http.StatusBadRequest, fmt.Errorf("read the event: %w", err)
	}
	if len(body) > maxIngress {
		return http.StatusServiceUnavailable, fmt.Errorf("the event has more than %d bytes", maxIngress)
	}
	ev, err := event.DecodeHTTP(r.Header, body)
	if err != nil {
		return http.StatusBadRequest, err
	}
	if event.IsEventFormat(ev.DataContentType()) {
		return http.StatusBadRequest, errors.New("datacontenttype must not be that of a CloudEvent within a CloudEvent: no record can say so")
	}
	attributes := http.Header{}
	if _, err := event.EncodeHTTP(ev, attributes); err != nil {
		return http.StatusBadRequest, err
	}
	size := 0
	for name, values := range attributes {
		size += len(name) + len(values[0])
	}
	if size > maxAttributes {
		return http.StatusRequestHeaderFieldsTooLarge, fmt.Errorf("the event has %d bytes of attributes, at most %d", size, maxAttributes)
	}
	if err := to.topic.Publish(r.Context(), []*event.Event{ev})[0]; err != nil {
		if !errors.Is(err, kafka.ErrTooLarge) {
			e.log.Warn("event not taken", "broker", name, "error", err)
		}
		return http.StatusServiceUnavailable, fmt.Errorf("publish to the Broker: %w", err)
	}
	return http.StatusAccepted, nil
}
