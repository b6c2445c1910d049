package main

const help = `enrich proves events against their contracts and adds what the contracts' steps ask for.

Consumes    CloudEvents of events.raw over HTTP, from the Trigger enrich, or from Kafka by INTAKE
Emits       to SINK the same event, its data {"payload": <the bytes as they came>, "enrichment": {...}}
On failure  what can never pass is a dead letter in DEAD_SINK at once; while a sink is away, events are answered 503
            and come again
`
