/*---
name: stg_yellow_taxi_trips
description: Every landed copy of a trip, flat. Copies and replays are all here; what shows no payload (withheld until its contract is known) is not.
materialized: ephemeral
columns:
  - {name: root_id, type: varchar, description: "Identity of the event, from source and id."}
  - {name: event_id, type: varchar, description: The producer's id.}
  - {name: event_source, type: varchar, description: The producer's source.}
  - {name: schema_version, type: varchar, description: MODEL-REVISION-ADDITION of the contract.}
  - {name: data_hash, type: varchar, description: SHA-256 of the payload as it was sent.}
  - {name: replay_count, type: bigint, description: "How often the event was replayed, 0 for never."}
  - {name: arrived_at, type: timestamptz, description: When Kafka took the copy.}
  - {name: arrival_date, type: date, description: UTC day of arrived_at.}
  - {name: kafka_partition, type: integer, description: Where the copy lay.}
  - {name: kafka_offset, type: bigint, description: Where the copy lay.}
  - {name: vendor_id, type: bigint, description: TLC's code of the provider.}
  - {name: pickup_at, type: timestamp, description: "When the meter was engaged, New York wall clock, as sent: years like 2001 and 2098 occur."}
  - {name: dropoff_at, type: timestamp, description: "When the meter was disengaged, New York wall clock, as sent."}
  - {name: pickup_date, type: date, description: Day of pickup_at; 1900-01-01 where it is missing or beyond 2009 to 2035.}
  - {name: dropoff_date, type: date, description: Day of dropoff_at; 1900-01-01 where it is missing or beyond 2009 to 2035.}
  - {name: passenger_count, type: double, description: As the driver entered it.}
  - {name: trip_distance, type: double, description: Miles by the taximeter.}
  - {name: rate_code_id, type: bigint, description: TLC's code of the rate.}
  - {name: store_and_fwd_flag, type: varchar, description: Y where the record was held in the vehicle.}
  - {name: pickup_location_id, type: bigint, description: TLC taxi zone of the pick-up.}
  - {name: dropoff_location_id, type: bigint, description: TLC taxi zone of the drop-off.}
  - {name: payment_type, type: bigint, description: TLC's code of the payment.}
  - {name: fare_amount, type: double, description: US dollars.}
  - {name: extra, type: double, description: US dollars.}
  - {name: mta_tax, type: double, description: US dollars.}
  - {name: tip_amount, type: double, description: US dollars.}
  - {name: tolls_amount, type: double, description: US dollars.}
  - {name: improvement_surcharge, type: double, description: US dollars.}
  - {name: total_amount, type: double, description: US dollars.}
  - {name: congestion_surcharge, type: double, description: US dollars.}
  - {name: airport_fee, type: double, description: US dollars.}
---*/
select
  e.root_id,
  e.id as event_id,
  e.source as event_source,
  e.schema_version,
  e.data_hash,
  coalesce(e.replay_count, 0) as replay_count,
  e.kafka_timestamp as arrived_at,
  e.arrival_date,
  e.kafka_partition,
  e.kafka_offset,
  e.payload.vendorid as vendor_id,
  e.payload.tpep_pickup_datetime as pickup_at,
  e.payload.tpep_dropoff_datetime as dropoff_at,
  -- A date of each would make a partition of each: what the meters' clocks made up goes to one day.
  case
    when e.payload.tpep_pickup_datetime >= timestamp '2009-01-01 00:00:00' and e.payload.tpep_pickup_datetime < timestamp '2036-01-01 00:00:00'
    then cast(e.payload.tpep_pickup_datetime as date)
    else date '1900-01-01'
  end as pickup_date,
  case
    when e.payload.tpep_dropoff_datetime >= timestamp '2009-01-01 00:00:00' and e.payload.tpep_dropoff_datetime < timestamp '2036-01-01 00:00:00'
    then cast(e.payload.tpep_dropoff_datetime as date)
    else date '1900-01-01'
  end as dropoff_date,
  e.payload.passenger_count,
  e.payload.trip_distance,
  e.payload.ratecodeid as rate_code_id,
  e.payload.store_and_fwd_flag,
  e.payload.pulocationid as pickup_location_id,
  e.payload.dolocationid as dropoff_location_id,
  e.payload.payment_type,
  e.payload.fare_amount,
  e.payload.extra,
  e.payload.mta_tax,
  e.payload.tip_amount,
  e.payload.tolls_amount,
  e.payload.improvement_surcharge,
  e.payload.total_amount,
  e.payload.congestion_surcharge,
  e.payload.airport_fee
from events.enriched_yellowtaxitriprecords_0 e
where e.root_id is not null and e.payload is not null
