/*---
name: fact_trip
description: One row per trip, the best of its copies.
materialized: incremental
unique_key: [root_id]
order_by: [replay_count desc, arrived_at, kafka_partition, kafka_offset]
partition: pickup_date
tags: [taxi, fact]
columns:
  - {name: root_id, type: varchar, description: identity, tests: [not_null, unique]}
  - {name: data_hash, type: varchar}
  - {name: replay_count, type: bigint}
  - {name: arrived_at, type: timestamptz}
  - {name: kafka_partition, type: integer}
  - {name: kafka_offset, type: bigint}
  - {name: pickup_date, type: date}
  - {name: pickup_at, type: timestamp}
  - {name: zone_key, type: bigint, tests: [{relationships: {to: dim_zone, field: zone_key}}]}
  - {name: amount, type: double, tests: [{accepted_values: {values: [1, 2.5, 3, 4, 5, 6, 7, 8], severity: warn}}]}
tests:
  - {name: not_before_2000, sql: "select root_id, pickup_date from fact_trip where pickup_date < date '2000-01-01'"}
---*/
select s.root_id, s.data_hash, s.replay_count, s.arrived_at, s.kafka_partition, s.kafka_offset, s.pickup_date, s.pickup_at, s.zone_key, s.amount
from stg_trip s
