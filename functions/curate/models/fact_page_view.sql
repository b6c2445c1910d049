/*---
name: fact_page_view
description: One row per request, the best of its copies. Host and user agent are pseudonyms.
materialized: incremental
unique_key: [root_id]
order_by: [replay_count desc, arrived_at, kafka_partition, kafka_offset]
partition: view_date
columns:
  - {name: root_id, type: varchar, description: "Identity of the event, from source and id.", tests: [not_null, unique]}
  - {name: event_id, type: varchar, description: The producer's id.}
  - {name: event_source, type: varchar, description: The producer's source.}
  - {name: schema_version, type: varchar, description: MODEL-REVISION-ADDITION of the contract.}
  - {name: data_hash, type: varchar, description: SHA-256 of the payload as it was sent.}
  - {name: replay_count, type: bigint, description: "How often the event was replayed, 0 for never.", tests: [not_null]}
  - {name: arrived_at, type: timestamptz, description: When Kafka took the copy.}
  - {name: arrival_date, type: date, description: UTC day of arrived_at.}
  - {name: kafka_partition, type: integer, description: Where the copy lay.}
  - {name: kafka_offset, type: bigint, description: Where the copy lay.}
  - {name: host, type: varchar, description: Pseudonym of the client., tests: [{not_null: {severity: warn}}]}
  - {name: method, type: varchar, description: HTTP method.}
  - {name: url, type: varchar, description: What was asked for.}
  - {name: path, type: varchar, description: The url up to its query.}
  - {name: status, type: bigint, description: HTTP status.}
  - {name: status_class, type: bigint, description: First digit of the status., tests: [{accepted_values: {values: [1, 2, 3, 4, 5], severity: warn}}]}
  - {name: bytes, type: bigint, description: Length of the answer's body.}
  - {name: referrer, type: varchar, description: Page that led here.}
  - {name: user_agent, type: varchar, description: Pseudonym of the client's description.}
  - {name: visited_at, type: timestamptz, description: "When the request came in, as sent."}
  - {name: view_date, type: date, description: UTC day of visited_at; 1900-01-01 is the unknown day., tests: [not_null, {relationships: {to: dim_date, field: date_key}}]}
  - {name: view_hour, type: bigint, description: "UTC hour of visited_at, 0 to 23."}
  - {name: is_client_error, type: boolean, description: Status 400 to 499.}
  - {name: is_server_error, type: boolean, description: Status 500 to 599.}
---*/
select
  v.root_id,
  v.event_id,
  v.event_source,
  v.schema_version,
  v.data_hash,
  v.replay_count,
  v.arrived_at,
  v.arrival_date,
  v.kafka_partition,
  v.kafka_offset,
  v.host,
  v.method,
  v.url,
  split_part(v.url, '?', 1) as path,
  v.status,
  v.status / 100 as status_class,
  v.bytes,
  v.referrer,
  v.user_agent,
  v.visited_at,
  v.view_date,
  cast(extract(hour from v.visited_at) as bigint) as view_hour,
  v.status between 400 and 499 as is_client_error,
  v.status between 500 and 599 as is_server_error
from stg_page_views v
