// Package dashboards is what people look at: a Superset bundle (databases, data sets, charts, the dashboards Taxi and Operations) over the lake's tables, and the client that brings it
// into a Superset, takes it out again, and asks every chart for its data.
//
// It guarantees: an import can be repeated, and overwrites what it imported before, by UUIDs that never change; a password never stands in the bundle; with a schema prefix, everything it
// makes is apart from what it makes without (other UUIDs, titles and addresses), so that two lakes, or a test, can share one Superset.
//
// It does not: delete what a former bundle had and this one has not, manage users or permissions, or draw: whether a chart can be read is for eyes.
//
// # Decision 2026-11-21: assets, not dashboards
//
// Context: Superset's import of dashboards overwrites the dashboards alone; charts, data sets and databases that are there stay as they are, so that a bundle's second version does not
// arrive. Decision: the bundle is of type assets, whose import overwrites all four in one transaction. Consequences: changes made by hand in Superset to these objects are lost at the next import; who
// wants to keep them exports them (curate dashboards export) or saves a copy. Whoever imports needs the right to write all four kinds.
//
// # Decision 2026-11-21: the search indices through Trino
//
// Context: Superset's own Elasticsearch driver is not installed in most distributions, and needs Elasticsearch's SQL. Decision: charts read the search indices through Trino's Elasticsearch catalog, whose
// table names take a wildcard ("dead-*"); databases/search.yaml, a direct connection, is brought along only where an address for it is given, without charts.
// Seen on 2026-11-22: Superset 6.1.0 without the driver imports the bundle with that connection; elasticsearch-dbapi 0.2.11 (with elasticsearch 7.17) loads into its SQLAlchemy, and asks POST /_sql/,
// which no server was at hand to answer: a query over the direct connection has not been run.
// Consequences: without a catalog for search, its chart is left out of the dashboard; with one, an installation without a single dead letter has no index, and that chart says so.
//
// # Decision 2026-11-21: every data set is a query
//
// Context: a Superset whose own database is SQLite wants the names of data sets to be unique among all databases and schemas, and a data set that is a table has to have the table's name.
// Decision: data sets are queries, with names of their own (select * from lake.star.mart_trip_daily is taxi_daily). Consequences: they never collide with data sets that somebody has made of the
// same tables; Trino plans through the query, so that it costs nothing.
package dashboards
