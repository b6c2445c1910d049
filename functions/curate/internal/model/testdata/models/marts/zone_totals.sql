/*---
name: zone_totals
description: All trips by zone.
materialized: table
columns:
  - {name: zone_key, type: bigint}
  - {name: trips, type: bigint}
---*/
select zone_key, count(*) as trips from fact_trip group by zone_key
