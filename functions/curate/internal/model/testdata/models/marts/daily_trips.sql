/*---
name: daily_trips
description: Trips and money by day and zone.
materialized: incremental
strategy: insert_overwrite
upstream: fact_trip
partition: pickup_date
columns:
  - {name: pickup_date, type: date}
  - {name: zone_name, type: varchar}
  - {name: trips, type: bigint}
  - {name: amount, type: double}
---*/
with named as (
  select f.pickup_date, z.zone_name, f.amount
  from fact_trip f
  left join dim_zone z on z.zone_key = f.zone_key
)
select pickup_date, zone_name, count(*) as trips, cast(sum(cast(round(amount * 100) as decimal(18, 0))) as double) / 1e2 as amount
from named
group by pickup_date, zone_name
