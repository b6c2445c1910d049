package main

const help = `collect takes events over HTTP, gives each its identity, and answers once Kafka has them.

  KAFKA_BROKERS=127.0.0.1:9092 LISTEN_HOST=127.0.0.1 collect
  curl -d '{"event_type":"PageView","schema_version":"0-0-1","payload":{}}' http://127.0.0.1:8080/api/v1/collect

Consumes    POST /api/v1/collect (JSON form: one object or an array), POST /api/v1/events (CloudEvents: binary,
            structured, batch), POST / (the same for Knative, answered without a body)
Emits       events to SINK, payloads byte for byte; what fails at the top level to DEAD_SINK; a receipt for each
On failure  503 with Retry-After, after SEND_TIMEOUT at the latest; receipts say busy (not written) or unconfirmed
            (may be written). Send either again with the same id and source.
`
