// Package function is what every function is put together from: the settings that all share, the way in (INTAKE), the ways out (SINK, DEAD_SINK), and the
// order in which they start and end. A function's main names its handler and its own clients, and leaves the rest to this package.
//
//	f := function.New("enrich", c.Process, 96<<20)
//	sinks := f.OpenSinks(kafka.ProducerOptions{})
//	h := newEnricher(sinks.Open(c.sink), ...)
//	in := f.Intake(function.In{Intake: c.Intake, From: c.from, Dead: sinks.Open(c.dead)}, h)
//	return serve.Run(ctx, f.Server(), in)
//
// It guarantees: events go through [deadletter.Handler] and [delivery.Attempts] whichever way they come; the intake is drained before the sinks are
// closed; a function is ready once its sinks, and its intake's topics and group, were seen once.
//
// It reads no environment: the structs carry envconfig's tags, and a function's config.go fills them. It decides nothing about events.
//
// # Decisions
//
// 2026-11-21, a layer between functions and adapters. Context: adapters (kafka, serve, deadletter, telemetry, ...) do not import each other, so every function's
// main joined them by the same forty lines, each a little differently. Decision: this package, which only functions import, may import all adapters, and does nothing
// but join them. Consequences: a new way in or out is written once; what belongs to one adapter stays in it, and no adapter may import this package.
//
// 2026-11-21, the default of SINK. Context: a sink was a Kafka topic unless said otherwise; Knative's SinkBinding and other tools say where events go by K_SINK. Decision: SINK,
// where it is empty K_SINK, where that is empty too the topic of the function's place in the pipeline, on KAFKA_BROKERS. DEAD_SINK does not look at K_SINK: dead letters
// are not what a SinkBinding routes. Consequences: manifests without either run as they did; K_CE_OVERRIDES is not read.
//
// 2026-11-21, security travels with targets. Context: how brokers are reached (TLS, user) is one setting for a function, and each way in or out needs it; one that forgets it works until a Kafka asks for
// it. Decision: [Target] and kafka.Subscription carry it from [Brokers], where the URL is read. Consequences: opening one is enough; brokers that a URL names are reached like those of KAFKA_BROKERS.
package function
