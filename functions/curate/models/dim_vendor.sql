/*---
name: dim_vendor
description: The providers that record trips.
materialized: table
columns:
  - {name: vendor_key, type: bigint, description: "TLC's VendorID; -1 is unknown.", tests: [not_null, unique]}
  - {name: vendor_name, type: varchar, description: Company., tests: [not_null]}
---*/
select x.vendor_key, x.vendor_name
from (values
  (-1, 'Unknown'),
  (1, 'Creative Mobile Technologies'),
  (2, 'Curb Mobility'),
  (6, 'Myle'),
  (7, 'Helix')
) as x(vendor_key, vendor_name)
