// Collect is the way in: it takes events over HTTP, gives each its identity, and answers once Kafka has them.
//
// Consumes: POST /api/v1/collect (the JSON form: one object or an array, whatever the content type), POST /api/v1/events (CloudEvents:
// binary, structured, batch; answered with receipts), POST / (the same for Knative's machinery; 202 without a body). GET /api/v1 says who is there.
//
// Emits: events to events.raw, payloads byte for byte; what fails at the top level to events.dead, with the producer's bytes as data.
//
// On failure: a receipt says busy (never handed to Kafka) or unconfirmed (may still be written), and the answer is 503 with Retry-After, after
// SEND_TIMEOUT at the latest. A body that is too large to be kept is 413; an event too large for Kafka is a dead letter without data.
//
// Variables:
//
//	LOG_LEVEL             info                  debug, info, warn, error
//	LOG_FORMAT            json                  json, text
//	PORT                  8080                  port for events, /healthz, /readyz and /metrics; 0 is any that is free
//	LISTEN_HOST                                 address to listen on, all where empty; 127.0.0.1 on one machine
//	OTEL_EXPORTER_OTLP_ENDPOINT                 where spans go, such as http://host:4318; empty: nowhere. This and what follows is OpenTelemetry's
//	OTEL_EXPORTER_OTLP_TRACES_ENDPOINT          in its place, with the path, which is /v1/traces else
//	OTEL_EXPORTER_OTLP_PROTOCOL  http/protobuf  there is no other
//	OTEL_EXPORTER_OTLP_HEADERS                  name=value,...: sent with spans, percent-encoded; secret
//	OTEL_EXPORTER_OTLP_HEADERS_FILE             a file that holds them, read at each request; ours, not OpenTelemetry's
//	OTEL_SERVICE_NAME                           else the function's name
//	OTEL_RESOURCE_ATTRIBUTES                    name=value,...: said of all spans
//	OTEL_TRACES_SAMPLER   parentbased_always_on always_on, always_off, traceidratio, each with parentbased_ before it or not
//	OTEL_TRACES_SAMPLER_ARG                     the ratio, from 0 to 1
//	OTEL_SDK_DISABLED     false                 true: no spans
//	SHUTDOWN_GRACE        25s                   for the end; below the pod's grace period
//	GOGC                                        as for every Go program; else 400
//	GOMEMLIMIT                                  as for every Go program; else three quarters of what knative/ allows
//	KAFKA_BROKERS                               host:port, comma separated; for URLs that name none
//	KAFKA_TLS                                   true: TLS to all Kafka brokers
//	KAFKA_CA_FILE                               certificates (PEM) to trust in place of the system's; this and all files below are read at each connection
//	KAFKA_CERT_FILE                             the function's own certificate (PEM), where brokers ask for one
//	KAFKA_KEY_FILE                              its private key (PEM)
//	KAFKA_SERVER_NAME                           the name in the brokers' certificates where it is not the host's
//	KAFKA_SASL_MECHANISM                        PLAIN (sends the password as it is: use TLS), SCRAM-SHA-256 or SCRAM-SHA-512; empty: no user
//	KAFKA_USER                                  who the function is to the brokers
//	KAFKA_PASSWORD_FILE                         a file that holds the password; white space around it does not count
//	KAFKA_PASSWORD                              in place of the file; secret
//	SINK                                        where events go: kafka://brokers/topic or http://ingress/path; else K_SINK, else the topic kafka:///events.*
//	K_SINK                                      set by a SinkBinding; for where SINK is empty
//	DEAD_SINK             kafka:///events.dead  where dead letters go, as SINK
//	SOURCE                /collect              source of events without one; the same on every replica
//	COLLECTOR_ID                                collectorid of events; else HOSTNAME of a pod, else K_REVISION
//	HOSTNAME                                    set by Kubernetes
//	K_REVISION                                  set by Knative
//	SEND_TIMEOUT          3s                    how long a request waits for Kafka
//	SEND_BUFFER_BYTES     16777216              events handed to Kafka and not confirmed, at most
//	SEND_LINGER           2ms                   how long a record waits for others
//	RETRY_AFTER           1s                    told with every 503
//	MAX_BODY_BYTES        16777216              the largest body, decompressed
//	MAX_HELD_BYTES        33554432              all bodies held at one time; beyond it 503
//	MAX_EVENTS            10000                 events in one request
//	LOWERCASE_EXTENSIONS  false                 true: extension names with capitals (Debezium's) become lower case instead of dead letters
//	READY_GROUPS                                group@topic,...: not ready before these groups have committed offsets
package main

import (
	"context"
	"fmt"
	"os"

	"knative.dev/pkg/signals"

	"millrace/shared/serve"
	"millrace/shared/usage"
)

func main() {
	if err := run(signals.NewContext(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "collect:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if done, err := usage.Asked(os.Stdout, args, help, config{}); done || err != nil {
		return err
	}
	cfg, err := readConfig()
	if err != nil {
		return err
	}
	f, c := assemble(&cfg)
	server := f.Server()
	server.MaxHeaderBytes = 256 << 10 // anybody can send them; what is over maxAttributes should still become a dead letter
	return serve.Run(ctx, server, c.routes())
}
