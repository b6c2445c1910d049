/*---
name: stg_page_views
description: Every landed copy of a page view, flat. Host and user agent are masked (pseudonyms) before they reach the lake.
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
  - {name: host, type: varchar, description: Pseudonym of the client.}
  - {name: method, type: varchar, description: HTTP method.}
  - {name: url, type: varchar, description: What was asked for.}
  - {name: status, type: bigint, description: HTTP status.}
  - {name: bytes, type: bigint, description: Length of the answer's body.}
  - {name: referrer, type: varchar, description: Page that led here.}
  - {name: user_agent, type: varchar, description: Pseudonym of the client's description.}
  - {name: visited_at, type: timestamptz, description: "When the request came in, as sent."}
  - {name: view_date, type: date, description: UTC day of visited_at; 1900-01-01 where it is missing or beyond 1990 to 2035.}
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
  e.payload.host,
  e.payload.method,
  e.payload.url,
  e.payload.status,
  e.payload.bytes,
  e.payload.referrer,
  e.payload.user_agent,
  e.payload.visited_at,
  -- Other clocks' dates go to one day, lest each of them make a partition.
  case
    when cast(e.payload.visited_at as date) between date '1990-01-01' and date '2035-12-31' then cast(e.payload.visited_at as date)
    else date '1900-01-01'
  end as view_date
from events.enriched_pageview_0 e
where e.root_id is not null and e.payload is not null
