package main

// help returns the text for --help: what the command does, by examples, then its flags.
func (c *Config) help() string {
	if c.Generate {
		return generateHelp + c.flags.FlagUsages()
	}
	return fileHelp + c.flags.FlagUsages()
}

const fileHelp = `produce sends a data set to collect, one event a row, until a receipt says of each that it is durable.

  produce [flags] <file or URL>     replay a data set (also: DATA_URL=<file or URL> produce)
  produce generate [flags]          send made-up taxi trips (produce generate --help)

Replay the first 1000 trips, one a second, to http://127.0.0.1:8080:
  produce yellow_tripdata_2023-01.parquet

All of them, as fast as they are answered, 200 to a request, 4 requests at a time:
  produce -s 0 -m 0 --batch 200 --concurrency 4 yellow_tripdata_2023-01.parquet

From the web, 500 a second, to another address:
  produce --rate 500 -m 0 --collect https://collect.example.org https://example.org/yellow_tripdata_2023-01.parquet

Look at the events without sending any:
  produce --dry-run -m 3 yellow_tripdata_2023-01.parquet

Web logs and sensor readings, whose mappings are built in and told from the header:
  produce -s 0 -m 0 nasa_19950801.tsv
  produce -s 0 -m 0 --mapping airquality AirQualityUCI.csv

Another CSV, by a mapping of your own:
  produce --mapping visits.yaml visits.csv
where visits.yaml is
  event_type: PageView
  schema_version: 0-0-1
  delimiter: ";"
  time: visited_at
  columns:
    host: Client
    status: {column: Code, type: integer}
    visited_at: {column: When, type: timestamp, layout: "2006-01-02 15:04", zone: Europe/Berlin}
Types: string integer number boolean timestamp epoch_seconds epoch_millis. Other keys: quote (csv, none), decimal
(".", ","), missing (["-200"]); of a column: columns and join (several in one), value (a constant).

Identity. An event's source is /produce/<file name>, its id <start of the file's SHA-256>-<row>. So the same command
again makes no new events: search has each once for every day on which it was sent, and who counts root ids counts it
once. An interrupted run is continued by the same command, or by --skip, which it tells.

What is busy, unconfirmed or unanswered is sent again for --retry-for, and honours Retry-After; how many events wait, and
why, is told at once and every few seconds. Ctrl-C finishes what is
in flight and prints the table; a second one stops at once.

A file that is broken (truncated, an HTML page, an XML error) is refused by its name before the first event. A CSV row
whose number is none is sent as it is, for the contract to explain; a row that cannot be split is reported with its line.

Exit code: 0 when each event is accepted or dead-lettered, 1 when not, 2 when called wrongly.
Memory is bounded by a page of each column and the batches under way; a URL goes to a temporary file first.

Flags:
`

const generateHelp = `produce generate sends made-up taxi trips to collect, the same ones for the same seed.

10,000 good trips:
  produce generate -m 10000 --batch 100 --concurrency 4

One in ten bad, of all kinds:
  produce generate -m 1000 --bad-share 0.1

Only two kinds of bad events, at 50 a second, until interrupted:
  produce generate --count 0 --rate 50 --bad-share 0.01 --bad-kinds too_far,wrong_type

Two generations that do not meet: other seeds, or the same seed from two sources:
  produce generate --seed 1 --source /test/a
  produce generate --seed 1 --source /test/b

Kinds of bad events, and who makes a dead letter of them:
  enrich   wrong_type missing_field too_far unknown_version payload_not_object
  collect  no_event_type unknown_top_level id_without_source not_json
At the end it prints how many of each it made. Those of collect's kinds reach the dead letters under an identity that collect
makes anew each time, so they, and only they, are there twice after a second run.

Flags:
`
