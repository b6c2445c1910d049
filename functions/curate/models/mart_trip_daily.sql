/*---
name: mart_trip_daily
description: Trips of each day, by pick-up. Sums are of amounts rounded to cents, so that they do not depend on the order of the rows; reversals count as negative amounts.
materialized: incremental
strategy: insert_overwrite
upstream: fact_trip
partition: pickup_date
columns:
  - {name: pickup_date, type: date, description: New York day of the pick-up; 1900-01-01 is the unknown day., tests: [not_null, unique]}
  - {name: trips, type: bigint, description: "Trip records, reversals included.", tests: [not_null]}
  - {name: reversals, type: bigint, description: Records with a negative total.}
  - {name: card_trips, type: bigint, description: Paid by card.}
  - {name: cash_trips, type: bigint, description: Paid in cash.}
  - {name: no_passenger_trips, type: bigint, description: Records with a passenger count of zero.}
  - {name: no_distance_trips, type: bigint, description: Records with a distance of zero.}
  - {name: backwards_trips, type: bigint, description: Records whose drop-off lies before the pick-up.}
  - {name: unknown_zone_trips, type: bigint, description: Records whose pick-up or drop-off zone no dimension knows.}
  - {name: passengers, type: bigint, description: Sum of the passenger counts.}
  - {name: distance_miles, type: double, description: Miles.}
  - {name: duration_hours, type: double, description: "Hours with a passenger, records with a duration of 0 to 24 hours."}
  - {name: fare_amount, type: double, description: US dollars.}
  - {name: tip_amount, type: double, description: US dollars.}
  - {name: tolls_amount, type: double, description: US dollars.}
  - {name: total_amount, type: double, description: US dollars.}
  - {name: avg_distance_miles, type: double, description: Miles per record that has a distance.}
  - {name: avg_total_amount, type: double, description: US dollars per record.}
  - {name: tip_share, type: double, description: Tips by card as a share of the card trips' fares.}
---*/
with trip as (
  select
    f.pickup_date,
    f.is_reversal,
    f.payment_key,
    f.has_no_passengers,
    f.has_no_distance,
    f.is_backwards,
    f.pickup_zone_key = -1 or f.dropoff_zone_key = -1 as is_unknown_zone,
    case when f.duration_seconds between 0 and 86400 then cast(f.duration_seconds as decimal(18, 0)) end as duration_seconds,
    -- A sum of doubles depends on their order, one of decimals does not. What nobody pays or drives is left out, since it would not fit.
    case when abs(f.passenger_count) < 1e9 then cast(round(f.passenger_count * 1) as decimal(18, 0)) end as passenger_count,
    case when abs(f.trip_distance) < 1e9 then cast(round(f.trip_distance * 100) as decimal(18, 0)) end as trip_distance,
    case when abs(f.fare_amount) < 1e9 then cast(round(f.fare_amount * 100) as decimal(18, 0)) end as fare_amount,
    case when abs(f.tip_amount) < 1e9 then cast(round(f.tip_amount * 100) as decimal(18, 0)) end as tip_amount,
    case when abs(f.tolls_amount) < 1e9 then cast(round(f.tolls_amount * 100) as decimal(18, 0)) end as tolls_amount,
    case when abs(f.total_amount) < 1e9 then cast(round(f.total_amount * 100) as decimal(18, 0)) end as total_amount
  from fact_trip f
)
select
  t.pickup_date,
  count(*) as trips,
  count(*) filter (where t.is_reversal) as reversals,
  count(*) filter (where t.payment_key = 1) as card_trips,
  count(*) filter (where t.payment_key = 2) as cash_trips,
  count(*) filter (where t.has_no_passengers) as no_passenger_trips,
  count(*) filter (where t.has_no_distance) as no_distance_trips,
  count(*) filter (where t.is_backwards) as backwards_trips,
  count(*) filter (where t.is_unknown_zone) as unknown_zone_trips,
  cast(sum(t.passenger_count) as bigint) as passengers,
  cast(sum(t.trip_distance) as double) / 1e2 as distance_miles,
  cast(sum(t.duration_seconds) as double) / 3600 as duration_hours,
  cast(sum(t.fare_amount) as double) / 1e2 as fare_amount,
  cast(sum(t.tip_amount) as double) / 1e2 as tip_amount,
  cast(sum(t.tolls_amount) as double) / 1e2 as tolls_amount,
  cast(sum(t.total_amount) as double) / 1e2 as total_amount,
  cast(sum(t.trip_distance) as double) / 1e2 / nullif(cast(count(t.trip_distance) as double), 0) as avg_distance_miles,
  cast(sum(t.total_amount) as double) / 1e2 / nullif(cast(count(t.total_amount) as double), 0) as avg_total_amount,
  cast(sum(case when t.payment_key = 1 then t.tip_amount end) as double) / nullif(cast(sum(case when t.payment_key = 1 then t.fare_amount end) as double), 0) as tip_share
from trip t
group by t.pickup_date
