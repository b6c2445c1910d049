/*---
name: dim_rate
description: Rates. TLC's own 99, unknown, is kept apart from a code that nobody knows.
materialized: table
columns:
  - {name: rate_key, type: bigint, description: "TLC's RatecodeID; -1 is a code that is none of these, or none.", tests: [not_null, unique]}
  - {name: rate_name, type: varchar, description: Rate., tests: [not_null]}
---*/
select x.rate_key, x.rate_name
from (values
  (-1, 'Unknown code'),
  (1, 'Standard'),
  (2, 'JFK'),
  (3, 'Newark'),
  (4, 'Nassau or Westchester'),
  (5, 'Negotiated'),
  (6, 'Group'),
  (99, 'Unknown')
) as x(rate_key, rate_name)
