package main

import (
	"fmt"
	"strings"

	"millrace/shared/usage"
)

// help says what replay does, in a line for each command.
func help() string {
	var b strings.Builder
	b.WriteString("replay puts events back to where they failed, and tells where events are.\n\n")
	for _, c := range commands {
		fmt.Fprintf(&b, "  replay %-10s %s\n", c.name, c.does)
	}
	b.WriteString("\nreplay <command> --help says more. Servers come from the environment and default to those of make run.\n")
	return b.String()
}

func planHelp(f *planFlags) string {
	return planText + f.set().FlagUsages() + "\nVariables:\n\n" + usage.Variables(config{})
}

func applyHelp(f *applyFlags) string {
	return applyText + f.set().FlagUsages() + "\nVariables:\n\n" + usage.Variables(config{})
}

func reconcileHelp(f *reconcileFlags) string {
	return reconcileText + f.set().FlagUsages() + "\nVariables:\n\n" + usage.Variables(config{})
}

func traceHelp(f *traceFlags) string {
	return traceText + f.set().FlagUsages() + "\nVariables:\n\n" + usage.Variables(config{})
}

const planText = `replay plan selects events, runs today's code over them without side effects, and says what a replay would do:

  pass       it passes, and search does not show it yet
  overwrite  it passes, and replaces what search shows of it
  unknown    only the stage itself can tell (collect, and what Elasticsearch refused)
  fail       it would fail again: the table says where, why, and for which event
  given up   it came back as a dead letter --max-replays times
  settled    search shows it from a later replay than the one that failed

What was given up because a function could not be reached, which is the default selection:
  replay plan -o plan.json && replay apply plan.json

After a contract or a reference table was corrected, look first, then write the plan down:
  replay plan --stage enrich --code contract_violation --type YellowTaxiTripRecords
  replay plan --stage enrich --code contract_violation --type YellowTaxiTripRecords -o plan.json

One event; everything of an hour once more, since a lookup was wrong; the same from the lake:
  replay plan --root-id 38befcf3-8db2-5c59-a368-3993ac3f152d
  replay plan --source raw --type YellowTaxiTripRecords --from 2026-11-21T10:00:00Z --to 2026-11-21T11:00:00Z -o plan.json
  replay plan --source raw --lake --from 2026-10-01 --to 2026-10-02 -o plan.json

Where events enter again: what failed at enrich at the raw topic, what failed at load-search at the enriched topic, or with
--reenter enrich at the raw topic, to be enriched anew; raw events at the raw topic; what failed at collect at collect itself.
An event keeps its identity and gets replayid and a replaycount above the one that search shows, so it replaces that.
A replay that would put another payload in the place of the one that search shows fails here (identity_conflict).

A plan is not replaced by another one of the same name, unless with --force.

The plan holds no payloads. Memory is about 300 bytes an event; of the lake, one object. Exit code: 0, 1 where it failed, 2 when called wrongly.

Flags:
`

const applyText = `replay apply sends what the plan says would pass, or overwrite, at a rate. It checks that the plan is whole, that the topics
are the same, that its events are still there and that the contracts are those it was made with.

  replay apply plan.json
  replay apply --dry-run plan.json          read and check everything, send nothing
  replay apply --rate 50 plan.json          gently
  replay apply --collect http://127.0.0.1:8080 plan.json     what failed at collect, too

After a correction wait until enrich has read it (CONTRACTS_INTERVAL, 10 s): what the plan says holds for the contracts that replay sees.

Killed or interrupted at any point, the same command goes on from its journal (plan.json.<id>.journal). An event is in the journal once Kafka has
it on all in-sync replicas. What was sent and is not in the journal is sent again with the same replayid and replaycount, which changes
nothing in search nor in the lake's tables. What failed at collect has no replaycount: refused again, it is one more dead letter.

It ends with a table. Exit code: 0 once all is sent, 1 where something is left to do (run it again) or was refused for good (it says which), 2 when called
wrongly.

Flags:
`

const reconcileText = `replay reconcile accounts for every event of a time by what is durable, over distinct root ids: each in events.raw must be in
events.enriched or a dead letter, each enriched one in search or a dead letter, each dead letter in search, and each record of the three
topics in the landing log. It prints the sums and names what is missing. It changes nothing.

  replay reconcile --from 1h
  replay reconcile --from 2026-11-20 --to 2026-11-21 --format json
  replay reconcile --from 24h --all         name all that is missing, not only the first 20
  replay reconcile --from 10m --wait 6m     look again until nothing is on its way (load-lake drains every five minutes)

What lies behind the committed offset of the group that reads it, or was not drained yet, waits: it is not missing. Functions with a Kafka intake
have groups of other names: --group enrich=... names them. A replay must come to something anew: what its event came to before does not count.

What Kafka has deleted of the time, what it lost of a partition's end, and a topic that was deleted and made again within it, cannot be accounted for: it
says so, with what the landing log has of it. --from a later time is whole.

Memory: 290 MiB were measured for a million events; it takes at most 20 million. Of many documents it reads the index as a whole, by the time at
which their events were collected. Exit code: 0 where nothing is missing, 1 where something is or the time is not whole, 2 when called wrongly.

Flags:
`

const traceText = `replay trace tells one event's way: its record in each topic, with partition and offset, the document that search shows, the row in
the lake, why it failed and what to do, and where it waits. It changes nothing.

  replay trace 38befcf3-8db2-5c59-a368-3993ac3f152d
  replay trace --source /try --id 1

It reads each topic from --from to its end. Exit code: 0, 1 where something could not be read, 2 when called wrongly.

Flags:
`
