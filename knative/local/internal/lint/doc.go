// Package lint finds traps in manifests of Knative that are valid, are applied without a word, and lose, repeat or hold up events later: a Trigger that drops its Broker's dead letter sink, a
// KafkaSource whose group is made up anew, a function that sleeps with nobody to wake it. `go run ./knative/local lint --help` explains each.
//
// It guarantees that a finding names file, line and object, what is wrong, why it matters and what to write; that its codes are a closed list, [Rules]; and that it reports only what the manifests
// themselves decide: what depends on objects that it was not given, on a class of Broker that the cluster chooses, or on an expression that it cannot decide, is not reported, but for references,
// whose object must be among those given.
//
// It does not check what the API server or knative/local check already: spelling, types, unknown fields, schemas. It renders no kustomization: what kubectl kustomize prints can be read
// from standard input.
//
// # 2026-11-22: sets, not files
//
// Context: most traps lie between two objects, and objects of one name stand in several overlays, of which one is applied.
//
// Decision: what is applied together is linted together. Without paths these are knative with triggers and knative/jobs, and each overlay by itself, then with each further directory in it, such as
// KEDA's; with paths, all of them are one set. Links are followed, so a finding stands at the file that is to be changed, once.
//
// Consequences: a directory given alone may be told that its references name nothing.
//
// # 2026-11-22: a loop is shown by an event
//
// Context: whether a function's answer comes back to it by its own Trigger depends on what it answers, which no manifest says, and on filters of seven dialects, one a language.
//
// Decision: the function's object, or the Trigger, says what its replies set (lint.millrace/replies); all else is taken to stay as it was in the event that is answered. SINK is
// known from the container's variables. Then events are tried, of the values that the filter itself names, absent ones and one value that it does not name, with the very filters that
// knative/local runs: a loop is reported with the event that goes round.
//
// Consequences: what is reported is a loop, by the annotation's word. An expression that takes only what it computes (LENGTH(a) > 5, say) can hide one. Loops over two functions are not looked for.
//
// # 2026-11-22: waits as each class counts them
//
// Context: whether Knative's n-th wait is delay x n from 0 or from 1 changes linear sums little and exponential ones by half.
//
// Decision: as the senders' sources say (0.50): class Kafka and KafkaSource ask for the wait of retryCounter + 1, without an upper bound, exponential from a second where the delivery does not
// say (KafkaSource: ten times from 0.3 s); so does knative/local. The channel-based class counts from 0, and waits not at all where backoffPolicy and backoffDelay are not both said; a Broker
// without a class is taken for one of these, which is Knative's own default and the shorter sum. What an attempt takes by itself is not counted: a refused connection takes nothing.
//
// Consequences: what passes outlasts the outage by more than the sum says. Defaults that a cluster's ConfigMaps set are not known here.
package lint
