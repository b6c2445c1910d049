/*---
name: mart_trip_hourly
description: Trips of each hour and pick-up zone, with the zone's names. At most 24 times the zones in a day, however many trips.
materialized: incremental
strategy: insert_overwrite
upstream: fact_trip
partition: pickup_date
columns:
  - {name: pickup_date, type: date, description: New York day of the pick-up; 1900-01-01 is the unknown day., tests: [not_null]}
  - {name: pickup_hour, type: bigint, description: "New York hour of the pick-up, 0 to 23."}
  - {name: pickup_zone_key, type: bigint, description: "Zone of the pick-up; -1 is unknown.", tests: [not_null, {relationships: {to: dim_zone, field: zone_key}}]}
  - {name: pickup_borough, type: varchar, description: Its borough.}
  - {name: pickup_zone, type: varchar, description: Its name.}
  - {name: trips, type: bigint, description: "Trip records, reversals included.", tests: [not_null]}
  - {name: reversals, type: bigint, description: Records with a negative total.}
  - {name: passengers, type: bigint, description: Sum of the passenger counts.}
  - {name: distance_miles, type: double, description: Miles.}
  - {name: tip_amount, type: double, description: US dollars.}
  - {name: total_amount, type: double, description: US dollars.}
tests:
  - name: one row per hour and zone
    severity: error
    sql: select pickup_date, pickup_hour, pickup_zone_key from mart_trip_hourly group by pickup_date, pickup_hour, pickup_zone_key having count(*) > 1
---*/
with trip as (
  select
    f.pickup_date,
    f.pickup_hour,
    f.pickup_zone_key,
    f.is_reversal,
    -- A sum of doubles depends on their order, one of decimals does not. What nobody pays or drives is left out, since it would not fit.
    case when abs(f.passenger_count) < 1e9 then cast(round(f.passenger_count * 1) as decimal(18, 0)) end as passenger_count,
    case when abs(f.trip_distance) < 1e9 then cast(round(f.trip_distance * 100) as decimal(18, 0)) end as trip_distance,
    case when abs(f.tip_amount) < 1e9 then cast(round(f.tip_amount * 100) as decimal(18, 0)) end as tip_amount,
    case when abs(f.total_amount) < 1e9 then cast(round(f.total_amount * 100) as decimal(18, 0)) end as total_amount
  from fact_trip f
)
select
  t.pickup_date,
  t.pickup_hour,
  t.pickup_zone_key,
  z.borough as pickup_borough,
  z.zone as pickup_zone,
  count(*) as trips,
  count(*) filter (where t.is_reversal) as reversals,
  cast(sum(t.passenger_count) as bigint) as passengers,
  cast(sum(t.trip_distance) as double) / 1e2 as distance_miles,
  cast(sum(t.tip_amount) as double) / 1e2 as tip_amount,
  cast(sum(t.total_amount) as double) / 1e2 as total_amount
from trip t
left join dim_zone z on z.zone_key = t.pickup_zone_key
group by t.pickup_date, t.pickup_hour, t.pickup_zone_key, z.borough, z.zone
