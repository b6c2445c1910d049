/*---
name: fact_air_quality
description: One row per reading of a sensor, the best of its copies.
materialized: incremental
unique_key: [root_id]
order_by: [replay_count desc, arrived_at, kafka_partition, kafka_offset]
partition: measured_date
columns:
  - {name: root_id, type: varchar, description: "Identity of the event, from source and id.", tests: [not_null, unique]}
  - {name: event_id, type: varchar, description: The producer's id.}
  - {name: event_source, type: varchar, description: The producer's source.}
  - {name: schema_version, type: varchar, description: MODEL-REVISION-ADDITION of the contract.}
  - {name: data_hash, type: varchar, description: SHA-256 of the payload as it was sent.}
  - {name: replay_count, type: bigint, description: "How often the event was replayed, 0 for never.", tests: [not_null]}
  - {name: arrived_at, type: timestamptz, description: When Kafka took the copy.}
  - {name: arrival_date, type: date, description: UTC day of arrived_at.}
  - {name: kafka_partition, type: integer, description: Where the copy lay.}
  - {name: kafka_offset, type: bigint, description: Where the copy lay.}
  - {name: sensor_id, type: varchar, description: Which sensor., tests: [{not_null: {severity: warn}}]}
  - {name: measured_at, type: timestamp, description: "The hour that was measured, by the sensor's wall clock, as sent."}
  - {name: measured_date, type: date, description: Day of measured_at; 1900-01-01 is the unknown day., tests: [not_null, {relationships: {to: dim_date, field: date_key}}]}
  - {name: measured_hour, type: bigint, description: "Hour of measured_at, 0 to 23."}
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
  - {name: values_missing, type: bigint, description: How many of the thirteen measurements are null.}
---*/
select
  a.root_id,
  a.event_id,
  a.event_source,
  a.schema_version,
  a.data_hash,
  a.replay_count,
  a.arrived_at,
  a.arrival_date,
  a.kafka_partition,
  a.kafka_offset,
  a.sensor_id,
  a.measured_at,
  a.measured_date,
  cast(extract(hour from a.measured_at) as bigint) as measured_hour,
  a.co_gt,
  a.pt08_s1_co,
  a.nmhc_gt,
  a.c6h6_gt,
  a.pt08_s2_nmhc,
  a.nox_gt,
  a.pt08_s3_nox,
  a.no2_gt,
  a.pt08_s4_no2,
  a.pt08_s5_o3,
  a.temperature,
  a.relative_humidity,
  a.absolute_humidity,
  case when a.co_gt is null then 1 else 0 end
    + case when a.pt08_s1_co is null then 1 else 0 end
    + case when a.nmhc_gt is null then 1 else 0 end
    + case when a.c6h6_gt is null then 1 else 0 end
    + case when a.pt08_s2_nmhc is null then 1 else 0 end
    + case when a.nox_gt is null then 1 else 0 end
    + case when a.pt08_s3_nox is null then 1 else 0 end
    + case when a.no2_gt is null then 1 else 0 end
    + case when a.pt08_s4_no2 is null then 1 else 0 end
    + case when a.pt08_s5_o3 is null then 1 else 0 end
    + case when a.temperature is null then 1 else 0 end
    + case when a.relative_humidity is null then 1 else 0 end
    + case when a.absolute_humidity is null then 1 else 0 end as values_missing
from stg_air_quality a
