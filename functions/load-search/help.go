package main

const help = `load-search makes events searchable: it writes enriched events and dead letters to Elasticsearch.

Consumes    CloudEvents over HTTP, from the Triggers load-search-enriched and load-search-dead, or from Kafka by INTAKE
Emits       documents in enriched-<type>-<MODEL>-YYYY.MM.DD and dead-YYYY.MM.DD, personal data masked by MASK_KEY
On failure  what Elasticsearch refuses for good, or holds under the same identity with other data, is a dead letter in
            DEAD_SINK at once; anything else is answered 503 or 429 and comes again
`
