/*---
name: fact_trip
description: One row per trip record, the best of its copies. A reversal is a record of its own, with negative amounts.
materialized: incremental
unique_key: [root_id]
order_by: [replay_count desc, arrived_at, kafka_partition, kafka_offset]
partition: pickup_date
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
  - {name: vendor_key, type: bigint, description: "Who recorded it; -1 is unknown.", tests: [not_null, {relationships: {to: dim_vendor, field: vendor_key}}]}
  - {name: rate_key, type: bigint, description: "Rate; -1 is unknown.", tests: [not_null, {relationships: {to: dim_rate, field: rate_key}}]}
  - {name: payment_key, type: bigint, description: "Kind of payment; -1 is unknown.", tests: [not_null, {relationships: {to: dim_payment, field: payment_key}}]}
  - {name: pickup_zone_key, type: bigint, description: "Zone of the pick-up; -1 is unknown.", tests: [not_null, {relationships: {to: dim_zone, field: zone_key}}]}
  - {name: dropoff_zone_key, type: bigint, description: "Zone of the drop-off; -1 is unknown.", tests: [not_null, {relationships: {to: dim_zone, field: zone_key}}]}
  - {name: pickup_date, type: date, description: Day of pickup_at; 1900-01-01 is the unknown day., tests: [not_null, {relationships: {to: dim_date, field: date_key}}]}
  - {name: dropoff_date, type: date, description: Day of dropoff_at; 1900-01-01 is the unknown day., tests: [not_null, {relationships: {to: dim_date, field: date_key}}]}
  - {name: pickup_hour, type: bigint, description: "Hour of pickup_at, 0 to 23."}
  - {name: pickup_at, type: timestamp, description: "When the meter was engaged, New York wall clock, as sent: years like 2001 and 2098 occur."}
  - {name: dropoff_at, type: timestamp, description: "When the meter was disengaged, New York wall clock, as sent."}
  - {name: vendor_id, type: bigint, description: "TLC's code of the provider, as sent.", tests: [{accepted_values: {values: [1, 2, 6, 7], severity: warn}}]}
  - {name: rate_code_id, type: bigint, description: "TLC's code of the rate, as sent.", tests: [{accepted_values: {values: [1, 2, 3, 4, 5, 6, 99], severity: warn}}]}
  - {name: payment_type, type: bigint, description: "TLC's code of the payment, as sent.", tests: [{accepted_values: {values: [0, 1, 2, 3, 4, 5, 6], severity: warn}}]}
  - {name: pickup_location_id, type: bigint, description: "TLC taxi zone of the pick-up, as sent."}
  - {name: dropoff_location_id, type: bigint, description: "TLC taxi zone of the drop-off, as sent."}
  - {name: passenger_count, type: double, description: As the driver entered it.}
  - {name: trip_distance, type: double, description: Miles by the taximeter.}
  - {name: duration_seconds, type: bigint, description: "Whole seconds from pick-up to drop-off, negative where the record has them the wrong way round."}
  - {name: fare_amount, type: double, description: US dollars.}
  - {name: extra, type: double, description: US dollars.}
  - {name: mta_tax, type: double, description: US dollars.}
  - {name: tip_amount, type: double, description: US dollars.}
  - {name: tolls_amount, type: double, description: US dollars.}
  - {name: improvement_surcharge, type: double, description: US dollars.}
  - {name: total_amount, type: double, description: US dollars.}
  - {name: congestion_surcharge, type: double, description: US dollars.}
  - {name: airport_fee, type: double, description: US dollars.}
  - {name: is_stored_and_forwarded, type: boolean, description: Whether the record was held in the vehicle before it was sent.}
  - {name: is_reversal, type: boolean, description: "Whether the total is negative: the record takes a charge back."}
  - {name: has_no_passengers, type: boolean, description: Whether the passenger count is zero.}
  - {name: has_no_distance, type: boolean, description: Whether the distance is zero.}
  - {name: is_backwards, type: boolean, description: Whether the drop-off lies before the pick-up.}
---*/
select
  t.root_id,
  t.event_id,
  t.event_source,
  t.schema_version,
  t.data_hash,
  t.replay_count,
  t.arrived_at,
  t.arrival_date,
  t.kafka_partition,
  t.kafka_offset,
  -- A code that no dimension knows is the unknown member, its own text stays beside it.
  coalesce(v.vendor_key, -1) as vendor_key,
  coalesce(r.rate_key, -1) as rate_key,
  coalesce(p.payment_key, -1) as payment_key,
  coalesce(pz.zone_key, -1) as pickup_zone_key,
  coalesce(dz.zone_key, -1) as dropoff_zone_key,
  t.pickup_date,
  t.dropoff_date,
  cast(extract(hour from t.pickup_at) as bigint) as pickup_hour,
  t.pickup_at,
  t.dropoff_at,
  t.vendor_id,
  t.rate_code_id,
  t.payment_type,
  t.pickup_location_id,
  t.dropoff_location_id,
  t.passenger_count,
  t.trip_distance,
  -- Of whole seconds: the engines round a fraction differently.
  date_diff('second', date_trunc('second', t.pickup_at), date_trunc('second', t.dropoff_at)) as duration_seconds,
  t.fare_amount,
  t.extra,
  t.mta_tax,
  t.tip_amount,
  t.tolls_amount,
  t.improvement_surcharge,
  t.total_amount,
  t.congestion_surcharge,
  t.airport_fee,
  t.store_and_fwd_flag = 'Y' as is_stored_and_forwarded,
  t.total_amount < 0 as is_reversal,
  t.passenger_count = 0 as has_no_passengers,
  t.trip_distance = 0 as has_no_distance,
  t.dropoff_at < t.pickup_at as is_backwards
from stg_yellow_taxi_trips t
left join dim_vendor v on v.vendor_key = t.vendor_id
left join dim_rate r on r.rate_key = t.rate_code_id
left join dim_payment p on p.payment_key = t.payment_type
left join dim_zone pz on pz.zone_key = t.pickup_location_id
left join dim_zone dz on dz.zone_key = t.dropoff_location_id
