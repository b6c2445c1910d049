// Gameday runs the whole pipeline as processes against real servers of its own, under steady load, breaks something in each row of its table, and counts what was lost and what is there
// twice: `go run ./functions/internal/gameday`, with -short the form for CI. It is a tool of the tree, not a function.
//
// It starts Kafka, Elasticsearch and MinIO from the programs that ../shared/services fetched (-services names another directory), each on free ports and on data of its own, and puts
// proxies before them. Nothing else on the machine is touched, and nothing of it runs on after its end.
//
// Most rows play knative/ with its Triggers, some the overlay knative/direct, in which enrich and load-search read Kafka themselves.
//
// Each row starts a fresh platform with topics, indexes and buckets of its own; sends events of known identity at a steady rate, resending as produce does, and keeps every receipt; breaks
// one thing; and, once all is calm, compares receipts with what Kafka's topics, Elasticsearch's indexes and the landing log with its Parquet objects hold. What is
// counted is in package ledger; lost is 0 in every row, or the program ends with status 1. It goes on after a row that failed, and names the root ids.
//
// A row proves itself: its load goes on until its fault is over, however long that takes; it fails where proxies, answers or processes show that the fault did nothing; and its account has to
// miss what is taken out of it on purpose.
//
// A run ends within -limit, and says in which row it was. Ctrl-C ends it with all that it started; nothing is left behind but what -keep, -dir and -o ask for. There is no table of a run that
// was broken off.
//
// Time to recover runs from the end of the fault (a server that was killed counts as back when it answers again) until every event that was due by then has its receipt and has
// gone through to search, and to the lake. Sarama's, Elasticsearch's and the platform's own waits are in it.
//
// 2026-11-21. Context: faults must hit servers that others on the machine do not share, and hit them really: SIGKILL and SIGSTOP, not a mock. Decision: private instances,
// killed as processes; proxies of our own for what only a network does, rather than a library, since half of it is answers of Elasticsearch's that no library makes. Consequences: some
// 1.5 GB of memory for the run; rows share servers one after the other, so a row that leaves a server broken is followed by its restart.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once, and with it all that it started
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, pflag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "gameday:", err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "gameday:", err)
		os.Exit(1)
	}
}
