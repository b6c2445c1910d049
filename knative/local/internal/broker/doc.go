// Package broker delivers events on one machine as Knative Eventing with its Kafka Broker does in a cluster: the Brokers' ingress, Triggers with
// filters, retries and dead letter sinks, and PingSources.
//
// It guarantees at-least-once delivery from a topic to a Trigger's subscriber: an event's offset is committed only behind everything before it, and an event is finished only
// when the subscriber took it, the dead letter sink has it, no filter wants it, it is no CloudEvent, or there is no dead letter sink (below). The ingress answers 202
// only for durable events.
//
// A Broker is known by a ref and by the address of its ingress, as a cluster has it; either way events go to its topic without a request.
//
// It gives no order, creates no topics (a Trigger waits for its own), and has no other sources and sinks than those above. At most 50 events of a
// Trigger are in hand, those that wait for a retry among them, as in Knative: whoever lets poison wait stalls the good ones behind it.
//
// # 2026-11-21: as Knative was observed, and where not
//
// Context: functions must meet here what they meet in production, so the answers' table, the retries' schedule, headers and extensions follow what was observed on a real
// Kafka Broker (0.50), not what the documents say: Retry-After is ignored, a 2xx answer with a body that is no CloudEvent goes to the dead letter sink at once,
// Trigger.delivery replaces Broker.delivery whole, a record that is no CloudEvent is logged and skipped, attributes are filtered and passed on as they stand in the record's
// headers, percent-encoded or not. The n of delay x n and delay x 2^n counts retries from 1; whether Knative counts from 0 or 1 was not observed.
//
// Decision: follow it, even where it loses events by the manifest's own words: without a dead letter sink what is given up is dropped, with an error at the start, an
// error for each event, and a count. Depart from it where one machine that promises no loss would lose events, or where memory ends:
//   - A dead letter sink that fails after all retries: Knative drops the event. Here it is held, with an error line, and delivered again from the beginning after a pause.
//   - A reply that cannot be published counts as a failed delivery and is retried.
//   - Raw UTF-8 in a record's headers, which Knative damages, is percent-encoded on its way to the subscriber.
//   - A Trigger reads at most 1,000,000 offsets beyond its oldest unfinished event; Knative has no bound.
//   - A CESQL expression with an unknown function, or a schedule that no cluster takes, is refused at the start, with its file and line.
//
// Consequences: a pipeline that loses nothing here can lose events in a cluster while its dead letter sink is away for longer than its retries last.
//
// # 2026-11-21: a parser of our own for CESQL
//
// Context: the SDK's parser needs the ANTLR runtime, and its NOT, AND, OR and XOR fail as a whole where an operand does; in Knative `NOT (a = 'x')` is true where a is missing.
//
// Decision: a small parser by the specification's grammar that builds the SDK's own nodes, but for those four.
//
// Consequences: the specification's conformance cases run in our tests, but for one cast on which they and the SDK disagree.
package broker
