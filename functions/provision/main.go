// Command provision makes what the functions need before the first event: topics, the starting positions of the Triggers' groups, buckets and index
// templates. It is a job, safe to repeat: what is there stays as it is, and what is missing is made.
//
// Consumes: the manifests of Brokers and Triggers and the contracts that are embedded in it.
// Emits: a line for each thing on standard output.
// On failure: it tries again until PROVISION_WAIT has passed, then ends with status 1 and names what was wrong and where. It refuses an object
// store that ignores If-None-Match, since two drains would overwrite each other's log there. Contract files that are wrong are named at once; the rest is
// made all the same, and it ends with status 1.
//
// Variables: KAFKA_BROKERS, ELASTICSEARCH_URL, S3_ENDPOINT, S3_REGION, S3_BUCKET, S3_BUCKET_PRIVATE, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
// S3_PRIVATE_ACCESS_KEY_ID, S3_PRIVATE_SECRET_ACCESS_KEY, CONTRACTS, TOPIC_RAW, TOPIC_ENRICHED, TOPIC_DEAD, TOPIC_PARTITIONS, TOPIC_REPLICAS, ALLOW_FEWER_REPLICAS, RETENTION_RAW, RETENTION_ENRICHED, RETENTION_DEAD,
// INDEX_PREFIX, INDEX_REPLICAS, NAMESPACE, PROVISION_WAIT, LOG_LEVEL, LOG_FORMAT.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"millrace/shared/contract"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "provision:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	if len(args) > 0 {
		if args[0] == "-h" || args[0] == "--help" || args[0] == "help" {
			fmt.Print(usage)
			return nil
		}
		return fmt.Errorf("unknown argument %q: provision takes its settings from the environment, see --help", args[0])
	}
	c, err := readConfig()
	if err != nil {
		return err
	}
	contracts, err := contract.Open(ctx, c.Contracts)
	if err != nil {
		return fmt.Errorf("contracts: %w", err)
	}
	groups, err := triggerGroups(c.Namespace, map[string]string{"events.raw": c.TopicRaw, "events.enriched": c.TopicEnriched, "events.dead": c.TopicDead})
	if err != nil {
		return err
	}
	p := &provisioner{config: c, contracts: contracts.Set(), groups: groups, out: os.Stdout}
	defer func() { err = errors.Join(err, p.close()) }()
	wrong := p.wrong()
	return errors.Join(p.run(ctx), wrong)
}
