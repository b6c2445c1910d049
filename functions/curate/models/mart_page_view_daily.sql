/*---
name: mart_page_view_daily
description: Requests of each UTC day.
materialized: incremental
strategy: insert_overwrite
upstream: fact_page_view
partition: view_date
columns:
  - {name: view_date, type: date, description: UTC day; 1900-01-01 is the unknown day., tests: [not_null, unique]}
  - {name: views, type: bigint, description: Requests., tests: [not_null]}
  - {name: hosts, type: bigint, description: Distinct clients.}
  - {name: paths, type: bigint, description: Distinct paths.}
  - {name: bytes, type: bigint, description: Bytes of all answers. One that claims a petabyte or more is left out.}
  - {name: successes, type: bigint, description: Status 200 to 299.}
  - {name: redirects, type: bigint, description: Status 300 to 399.}
  - {name: client_errors, type: bigint, description: Status 400 to 499.}
  - {name: server_errors, type: bigint, description: Status 500 to 599.}
  - {name: error_share, type: double, description: Share of client and server errors in the requests.}
---*/
select
  f.view_date,
  count(*) as views,
  count(distinct f.host) as hosts,
  count(distinct f.path) as paths,
  cast(sum(case when f.bytes < 1000000000000000 then cast(f.bytes as decimal(38, 0)) end) as bigint) as bytes,
  count(*) filter (where f.status_class = 2) as successes,
  count(*) filter (where f.status_class = 3) as redirects,
  count(*) filter (where f.is_client_error) as client_errors,
  count(*) filter (where f.is_server_error) as server_errors,
  cast(count(*) filter (where f.is_client_error or f.is_server_error) as double) / nullif(cast(count(*) as double), 0) as error_share
from fact_page_view f
group by f.view_date
