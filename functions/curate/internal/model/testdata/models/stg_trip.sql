/*---
name: stg_trip
description: Trips as they landed, with names of their own.
materialized: ephemeral
tags: [taxi]
---*/
select
  root_id,
  data_hash,
  replaycount as replay_count,
  kafka_timestamp as arrived_at,
  kafka_partition,
  kafka_offset,
  cast(payload.pickup as date) as pickup_date,
  payload.pickup as pickup_at,
  payload.zone as zone_key,
  payload.amount as amount
from events.enriched_trip_0
where root_id is not null
