// Package kafka is Millrace's adapter to Apache Kafka on IBM/sarama: safe settings, CloudEvents as records, a producer whose answer means durable, topics
// and groups, consuming behind the oldest unfinished event.
//
// It guarantees that [Producer] reports an event as written only after the brokers acknowledged it as acks=all says, and that what a reader commits is never
// ahead of what was finished. It does not create topics except where [Admin.EnsureTopic] is called for it.
//
// # Decisions
//
// 2026-11-21, own producer and consumer around sarama. Context: the CloudEvents SDK's sender ignores its context, sends one by one and takes a closed client for success;
// its consumer moves the commit past unfinished events. Decision: the SDK's Kafka binding encodes and decodes; sending goes by AsyncProducer waiting for
// each success, receiving by an own loop. Consequence: delivery is code of ours, with its own tests.
//
// 2026-11-21, attributes are percent-encoded in record headers. Context: the Kafka binding of CloudEvents says UTF-8, but Knative's Kafka Broker damages raw UTF-8 in headers. Decision: encode
// as the HTTP binding says, and decode on reading; raw UTF-8 is read too. Consequence: a foreign reader sees %20 for a space.
package kafka
