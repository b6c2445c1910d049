package main

const help = `load-lake drains topics to object storage, in large objects, when it is asked to.

Consumes    ticks over HTTP, CloudEvents with the data {"topic": "events.raw"} and, optionally, "budget": "30s"; then
            the records of that topic, straight from Kafka; {"topic": "events.raw", "sweep": true} asks for the deletion of
            objects that crashed drains left, "dry_run": true for a report of them
Emits       Parquet objects under landing/ and the landing log that names them; personal data in enriched ones is masked
            by MASK_KEY, raw and dead ones are as sent, in a bucket of their own
On failure  503, and the next tick goes on where the log ends; offsets that Kafka no longer has become a lost range and
            an error in the log
`
