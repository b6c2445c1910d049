/*---
name: dim_zone
description: Zones.
materialized: table
tags: [taxi]
columns:
  - {name: zone_key, type: bigint, tests: [not_null, unique]}
  - {name: zone_name, type: varchar}
---*/
select t.zone_key, t.zone_name
from (values (1, 'Newark'), (2, 'Queens'), (3, 'Bronx')) as t(zone_key, zone_name)
