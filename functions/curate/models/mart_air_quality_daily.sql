/*---
name: mart_air_quality_daily
description: Each sensor's day, with mean, lowest and highest of its main measurements. Means are of values rounded to four digits, so that they do not depend on the order of the rows.
materialized: incremental
strategy: insert_overwrite
upstream: fact_air_quality
partition: measured_date
columns:
  - {name: measured_date, type: date, description: Day by the sensor's wall clock; 1900-01-01 is the unknown day., tests: [not_null]}
  - {name: sensor_id, type: varchar, description: Which sensor.}
  - {name: readings, type: bigint, description: Readings of the day., tests: [not_null]}
  - {name: values_missing, type: bigint, description: Missing measurements of the day's readings.}
  - {name: co_gt_avg, type: double, description: "Mean of co_gt: Carbon monoxide by the reference analyser, mg/m3."}
  - {name: co_gt_min, type: double, description: "Lowest of co_gt: Carbon monoxide by the reference analyser, mg/m3."}
  - {name: co_gt_max, type: double, description: "Highest of co_gt: Carbon monoxide by the reference analyser, mg/m3."}
  - {name: c6h6_gt_avg, type: double, description: "Mean of c6h6_gt: Benzene by the reference analyser, ug/m3."}
  - {name: c6h6_gt_min, type: double, description: "Lowest of c6h6_gt: Benzene by the reference analyser, ug/m3."}
  - {name: c6h6_gt_max, type: double, description: "Highest of c6h6_gt: Benzene by the reference analyser, ug/m3."}
  - {name: nox_gt_avg, type: double, description: "Mean of nox_gt: NOx by the reference analyser, ppb."}
  - {name: nox_gt_min, type: double, description: "Lowest of nox_gt: NOx by the reference analyser, ppb."}
  - {name: nox_gt_max, type: double, description: "Highest of nox_gt: NOx by the reference analyser, ppb."}
  - {name: no2_gt_avg, type: double, description: "Mean of no2_gt: NO2 by the reference analyser, ug/m3."}
  - {name: no2_gt_min, type: double, description: "Lowest of no2_gt: NO2 by the reference analyser, ug/m3."}
  - {name: no2_gt_max, type: double, description: "Highest of no2_gt: NO2 by the reference analyser, ug/m3."}
  - {name: temperature_avg, type: double, description: "Mean of temperature: Degrees Celsius."}
  - {name: temperature_min, type: double, description: "Lowest of temperature: Degrees Celsius."}
  - {name: temperature_max, type: double, description: "Highest of temperature: Degrees Celsius."}
  - {name: relative_humidity_avg, type: double, description: "Mean of relative_humidity: Percent."}
  - {name: relative_humidity_min, type: double, description: "Lowest of relative_humidity: Percent."}
  - {name: relative_humidity_max, type: double, description: "Highest of relative_humidity: Percent."}
  - {name: absolute_humidity_avg, type: double, description: "Mean of absolute_humidity: g/m3."}
  - {name: absolute_humidity_min, type: double, description: "Lowest of absolute_humidity: g/m3."}
  - {name: absolute_humidity_max, type: double, description: "Highest of absolute_humidity: g/m3."}
tests:
  - name: one row per sensor and day
    severity: error
    sql: select measured_date, sensor_id from mart_air_quality_daily group by measured_date, sensor_id having count(*) > 1
---*/
with reading as (
  select
    f.measured_date,
    f.sensor_id,
    f.values_missing,
    -- A sum of doubles depends on their order, one of decimals does not. What no instrument shows is left out, since it would not fit.
    case when abs(f.co_gt) < 1e9 then cast(round(f.co_gt * 1e4) as decimal(18, 0)) end as co_gt,
    case when abs(f.c6h6_gt) < 1e9 then cast(round(f.c6h6_gt * 1e4) as decimal(18, 0)) end as c6h6_gt,
    case when abs(f.nox_gt) < 1e9 then cast(round(f.nox_gt * 1e4) as decimal(18, 0)) end as nox_gt,
    case when abs(f.no2_gt) < 1e9 then cast(round(f.no2_gt * 1e4) as decimal(18, 0)) end as no2_gt,
    case when abs(f.temperature) < 1e9 then cast(round(f.temperature * 1e4) as decimal(18, 0)) end as temperature,
    case when abs(f.relative_humidity) < 1e9 then cast(round(f.relative_humidity * 1e4) as decimal(18, 0)) end as relative_humidity,
    case when abs(f.absolute_humidity) < 1e9 then cast(round(f.absolute_humidity * 1e4) as decimal(18, 0)) end as absolute_humidity
  from fact_air_quality f
)
select
  r.measured_date,
  r.sensor_id,
  count(*) as readings,
  cast(sum(cast(r.values_missing as decimal(18, 0))) as bigint) as values_missing,
  cast(sum(r.co_gt) as double) / 1e4 / nullif(cast(count(r.co_gt) as double), 0) as co_gt_avg,
  cast(min(r.co_gt) as double) / 1e4 as co_gt_min,
  cast(max(r.co_gt) as double) / 1e4 as co_gt_max,
  cast(sum(r.c6h6_gt) as double) / 1e4 / nullif(cast(count(r.c6h6_gt) as double), 0) as c6h6_gt_avg,
  cast(min(r.c6h6_gt) as double) / 1e4 as c6h6_gt_min,
  cast(max(r.c6h6_gt) as double) / 1e4 as c6h6_gt_max,
  cast(sum(r.nox_gt) as double) / 1e4 / nullif(cast(count(r.nox_gt) as double), 0) as nox_gt_avg,
  cast(min(r.nox_gt) as double) / 1e4 as nox_gt_min,
  cast(max(r.nox_gt) as double) / 1e4 as nox_gt_max,
  cast(sum(r.no2_gt) as double) / 1e4 / nullif(cast(count(r.no2_gt) as double), 0) as no2_gt_avg,
  cast(min(r.no2_gt) as double) / 1e4 as no2_gt_min,
  cast(max(r.no2_gt) as double) / 1e4 as no2_gt_max,
  cast(sum(r.temperature) as double) / 1e4 / nullif(cast(count(r.temperature) as double), 0) as temperature_avg,
  cast(min(r.temperature) as double) / 1e4 as temperature_min,
  cast(max(r.temperature) as double) / 1e4 as temperature_max,
  cast(sum(r.relative_humidity) as double) / 1e4 / nullif(cast(count(r.relative_humidity) as double), 0) as relative_humidity_avg,
  cast(min(r.relative_humidity) as double) / 1e4 as relative_humidity_min,
  cast(max(r.relative_humidity) as double) / 1e4 as relative_humidity_max,
  cast(sum(r.absolute_humidity) as double) / 1e4 / nullif(cast(count(r.absolute_humidity) as double), 0) as absolute_humidity_avg,
  cast(min(r.absolute_humidity) as double) / 1e4 as absolute_humidity_min,
  cast(max(r.absolute_humidity) as double) / 1e4 as absolute_humidity_max
from reading r
group by r.measured_date, r.sensor_id
