/*---
name: dim_date
description: Every day that a fact can have, 1990 to 2035, and 1900-01-01 for the unknown day (missing, or beyond what the fact takes for possible).
materialized: table
columns:
  - {name: date_key, type: date, description: The day., tests: [not_null, unique]}
  - {name: is_known, type: boolean, description: False for the unknown day., tests: [not_null]}
  - {name: year, type: bigint, description: "Year; null, as all that follows, for the unknown day."}
  - {name: quarter, type: bigint, description: 1 to 4., tests: [{accepted_values: {values: [1, 2, 3, 4]}}]}
  - {name: month, type: bigint, description: 1 to 12.}
  - {name: month_name, type: varchar, description: English.}
  - {name: day_of_month, type: bigint, description: 1 to 31.}
  - {name: iso_year, type: bigint, description: The year that the ISO week belongs to.}
  - {name: iso_week, type: bigint, description: ISO 8601 week.}
  - {name: iso_day_of_week, type: bigint, description: "1 Monday to 7 Sunday."}
  - {name: day_name, type: varchar, description: English.}
  - {name: is_weekend, type: boolean, description: Saturday or Sunday.}
  - {name: month_start, type: date, description: First day of the month.}
tests:
  - name: no day is missing
    severity: error
    sql: select count(*) as days from dim_date having count(*) <> 16802
---*/
-- Years and days apart: Trino makes no sequence of more than 10,000.
with numbered as (
  select y.n as the_year, cast(date_add('day', d.n, cast(date_add('year', y.n - 1990, date '1990-01-01') as date)) as date) as day
  from unnest(sequence(1990, 2035)) as y(n)
  cross join unnest(sequence(0, 365)) as d(n)
),
days as (
  select n.day, day_of_week(n.day) as dow, month(n.day) as month_number
  from numbered n
  where year(n.day) = n.the_year
)
select
  d.day as date_key,
  true as is_known,
  year(d.day) as year,
  (d.month_number + 2) / 3 as quarter,
  d.month_number as month,
  split_part('January,February,March,April,May,June,July,August,September,October,November,December', ',', cast(d.month_number as integer)) as month_name,
  day(d.day) as day_of_month,
  -- The ISO week's Thursday says its year.
  year(cast(date_add('day', 4 - d.dow, d.day) as date)) as iso_year,
  extract(week from d.day) as iso_week,
  d.dow as iso_day_of_week,
  split_part('Monday,Tuesday,Wednesday,Thursday,Friday,Saturday,Sunday', ',', cast(d.dow as integer)) as day_name,
  d.dow >= 6 as is_weekend,
  cast(date_trunc('month', d.day) as date) as month_start
from days d
union all
select date '1900-01-01', false, null, null, null, null, null, null, null, null, null, null, null
