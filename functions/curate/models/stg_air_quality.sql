/*---
name: stg_air_quality
description: Every landed copy of a sensor's reading, flat. The source's code for missing, -200, is null.
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
  - {name: sensor_id, type: varchar, description: Which sensor.}
  - {name: measured_at, type: timestamp, description: "The hour that was measured, by the sensor's wall clock, as sent."}
  - {name: measured_date, type: date, description: Day of measured_at; 1900-01-01 where it is missing or beyond 1990 to 2035.}
  - {name: co_gt, type: double, description: "Carbon monoxide by the reference analyser, mg/m3."}
  - {name: pt08_s1_co, type: double, description: "Tin oxide sensor, aimed at CO."}
  - {name: nmhc_gt, type: double, description: "Non-methane hydrocarbons by the reference analyser, ug/m3."}
  - {name: c6h6_gt, type: double, description: "Benzene by the reference analyser, ug/m3."}
  - {name: pt08_s2_nmhc, type: double, description: "Titania sensor, aimed at NMHC."}
  - {name: nox_gt, type: double, description: "NOx by the reference analyser, ppb."}
  - {name: pt08_s3_nox, type: double, description: "Tungsten oxide sensor, aimed at NOx."}
  - {name: no2_gt, type: double, description: "NO2 by the reference analyser, ug/m3."}
  - {name: pt08_s4_no2, type: double, description: "Tungsten oxide sensor, aimed at NO2."}
  - {name: pt08_s5_o3, type: double, description: "Indium oxide sensor, aimed at ozone."}
  - {name: temperature, type: double, description: Degrees Celsius.}
  - {name: relative_humidity, type: double, description: Percent.}
  - {name: absolute_humidity, type: double, description: g/m3.}
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
  e.payload.sensor_id,
  e.payload.measured_at,
  -- Other clocks' dates go to one day, lest each of them make a partition.
  case
    when e.payload.measured_at >= timestamp '1990-01-01 00:00:00' and e.payload.measured_at < timestamp '2036-01-01 00:00:00'
    then cast(e.payload.measured_at as date)
    else date '1900-01-01'
  end as measured_date,
  nullif(e.payload.co_gt, -200e0) as co_gt,
  nullif(e.payload.pt08_s1_co, -200e0) as pt08_s1_co,
  nullif(e.payload.nmhc_gt, -200e0) as nmhc_gt,
  nullif(e.payload.c6h6_gt, -200e0) as c6h6_gt,
  nullif(e.payload.pt08_s2_nmhc, -200e0) as pt08_s2_nmhc,
  nullif(e.payload.nox_gt, -200e0) as nox_gt,
  nullif(e.payload.pt08_s3_nox, -200e0) as pt08_s3_nox,
  nullif(e.payload.no2_gt, -200e0) as no2_gt,
  nullif(e.payload.pt08_s4_no2, -200e0) as pt08_s4_no2,
  nullif(e.payload.pt08_s5_o3, -200e0) as pt08_s5_o3,
  nullif(e.payload.temperature, -200e0) as temperature,
  nullif(e.payload.relative_humidity, -200e0) as relative_humidity,
  nullif(e.payload.absolute_humidity, -200e0) as absolute_humidity
from events.enriched_airqualitysensor_0 e
where e.root_id is not null and e.payload is not null
