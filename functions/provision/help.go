package main

const help = `provision makes what Millrace needs before the first event: topics, the starting positions of the Triggers'
groups, buckets and index templates. It is a job, safe to repeat: what is there stays as it is.

  KAFKA_BROKERS=127.0.0.1:9092 ELASTICSEARCH_URL=http://127.0.0.1:9200 \
  S3_ENDPOINT=http://127.0.0.1:9000 AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... provision

On a cluster: ko create -f knative/jobs/provision.yaml

A topic that was deleted comes back with provision: collect and enrich go on by themselves, what reads it straight from
Kafka (INTAKE) begins at its beginning, and load-lake waits for DRAIN_ACCEPT_TOPIC_ID. Knative's dispatcher would go on
from the old topic's positions, or at the new one's end: stop it (kafka-broker-dispatcher in knative-eventing, to 0
replicas) before provision runs, and start it afterwards. Where it ran all the same, stop it, set the groups' positions
to the beginning (kafka-consumer-groups.sh --reset-offsets --to-earliest --topic events.raw), and start it again.

Where partitions are to be added to a topic, the Triggers' groups have to be given their positions there while nobody
reads, or Knative begins at the end of the new partitions and skips what came before it saw them:

  1. stop Knative's dispatcher (kafka-broker-dispatcher in knative-eventing, to 0 replicas), and whatever else reads
     the topic through a Trigger; collect may go on
  2. add the partitions (kafka-topics.sh --alter --partitions)
  3. run provision: it gives each group the beginning of the new partitions
  4. start the dispatcher again

Where they were added without it, provision says so. Then do 1, set the groups' positions on these partitions to the
beginning (kafka-consumer-groups.sh --reset-offsets --to-earliest --topic events.raw:6,7), and do 4: what was handled
already changes nothing. From then on a key's events may lie in another partition than those before: order within a
key does not hold across the change. Intakes straight from Kafka (INTAKE) and load-lake need none of this.
`
