// Package direct holds the overlay in which functions take their events straight from Kafka: for volume, and where no Knative Kafka Broker is. It has no code of its own but the
// tests that hold it to knative/.
//
//	kubectl apply -f knative/100-namespace.yaml -f knative/200-config.yaml    # and the Secrets, as for knative/ itself
//	ko create -f knative/direct/jobs/provision.yaml
//	ko apply -f knative/direct                # in place of ko apply -f knative -f triggers, not beside it
//	kubectl apply -f knative/direct/keda      # where KEDA is: enrich and load-search scale by lag, down to nothing
//	kubectl apply -f knative/direct/keda/secured    # in its place, where Kafka asks for TLS and a user
//	make run ARGS="-overlay direct"           # the same manifests on one machine
//
// The other jobs are those of knative/jobs. A kustomization of your own, elsewhere, can name these files one by one as its resources (kubectl kustomize
// --load-restrictor LoadRestrictionsNone DIR | ko apply -f -), and change addresses by a patch of the ConfigMap.
//
// A cluster needs Knative Serving (collect, load-lake) and the PingSource of Knative Eventing (ticks); no Broker, no Trigger, no Kafka component of Knative.
//
// It guarantees, by its tests: what is not listed below as different is the same as in knative/, field by field, and a file that is added there is missed here.
// It does not run KEDA: its manifests are checked against the schema that KEDA publishes (in its Go module, fetched by the test, which is skipped where it cannot be) and the settings
// that its Kafka scaler reads, no more.
//
// # From Triggers to this, and back
//
// Triggers and direct intake have groups of different names, so neither knows what the other has finished. Both at once deliver every event twice (search and curation keep one of
// them). To change over, remove the Triggers and the Knative Services enrich and load-search (kubectl delete -f triggers; kubectl delete ksvc -n millrace enrich load-search), then apply this. The
// new groups start at the oldest event that Kafka has: nothing is lost, and what was done already is done again: search keeps its documents, events.enriched and the lake get a second copy of
// what was enriched before. Whoever does not want that sets the groups' offsets to those of the Triggers' groups before (kafka-consumer-groups.sh --reset-offsets). The
// way back is the same: the Triggers' groups stand where they were left, or, forgotten by Kafka (seven days without members), at the end of the topic: set them
// before, or events that this overlay had not finished are passed over.
//
// Commands that ask for groups are told their names:
//
//	replay reconcile --from 1h --group enrich=millrace-enrich,load-search-enriched=millrace-load-search,load-search-dead=millrace-load-search
//
// # 2026-11-21: whole files and links, not kustomize
//
// Context: of nine files in knative/ five are the same here, one goes (Brokers), collect differs by one variable, and enrich and load-search are another kind. A second -f with Services of
// the same names would depend on its order. Kustomize could patch, but cannot make a Deployment of a Service; it needs --load-restrictor LoadRestrictionsNone and a pipe, since ko knows
// no kustomization; and what it made could only be tested here with its Go API, or a copy of its rules, in knative/local.
//
// Decision: this directory is complete by itself. What is the same is a symbolic link into knative/, so addresses are still edited in one place, knative/200-config.yaml; ko, kubectl and
// knative/local follow links to files. What differs is a whole file, and a test makes it from the one in knative/ by the listed differences and compares.
//
// Consequences: one command without a pipe, the same on a cluster and on one machine. A checkout without symbolic links (Windows without its developer mode) cannot be applied. A change
// of enrich, load-search or collect is made twice; the test says where.
//
// # 2026-11-21: Deployments for enrich and load-search
//
// Context: a Knative Service scales by requests. A function that reads Kafka gets none: at min-scale 0 it would never wake, and at min-scale 1 it is a Deployment that cannot be scaled, since
// KEDA's ScaledObject, kubectl scale and the horizontal pod autoscaler all want an object that can be, which a Knative Service is not.
//
// Decision: apps/v1 Deployments without a number of replicas: one where nobody says otherwise, and an apply does not undo what a scaler said. With KEDA they sleep, which is
// an addition in keda/, applied by itself, so that this overlay needs no KEDA. collect and load-lake are asked by HTTP and stay Knative Services that sleep.
//
// Consequences: without a scaler they are always there, one pod each, and no more: enough until lag grows (kubectl scale deployment). A pod gets SIGTERM while it works:
// it finishes and commits within SHUTDOWN_GRACE, below the pod's 30 seconds. What a group commits lies behind its oldest
// unfinished event: while one waits (for its contract, say), KEDA counts all behind it as lag, keeps pods awake, and adds some that have nothing to do. Offsets of a group that sleeps longer than Kafka keeps them (seven days) are gone, and it
// starts at the oldest event again; this is why KEDA is told earliest as well.
//
// # 2026-11-21: static members, by the pod's name
//
// Context: a container that is killed (out of memory, a crash) leaves its group without a word, and the group waits for its session's timeout: nothing is read for nine to ten seconds, of a group of
// one not by the container that was started anew at once either. Static membership (group.instance.id) gives a member that comes back by the same name its partitions at once: 0.2 s from the start of
// the process to its first event, measured with SIGKILL on Apache Kafka, in place of 9.1 s. Pods of a Deployment have new names each time, but a container that is started anew in
// its pod keeps the pod's. A static member does not leave by closing: a rollout would wait those ten seconds for each pod.
//
// Decision: member=static in INTAKE: the instance is HOSTNAME, which Kubernetes sets to the pod's name, and the intake has the group forget it when it ends in order. The session's timeout stays at ten seconds: a
// pod that is gone with its node is noticed as before, and Kafka's default lets nobody ask for less than six.
//
// Consequences: a crash costs the container's start; a rollout and KEDA's scaling move partitions at once, as before; a lost node costs ten seconds. Two pods of one name in a group (hostNetwork, one
// node) would throw each other out for ever: such a Deployment says member=dynamic. The user of a secured Kafka needs no right that it did not need before.
//
// # 2026-11-21: nothing waits for groups, and none is made before its reader
//
// Context: in knative/ collect is not ready before provision has committed where the Triggers' groups start, since a new Trigger starts at its topic's end. Groups that nobody
// uses are forgotten after seven days: a collect that waited for them would then never be ready again; and before that they look like readers that are stuck, to alerts and to people.
//
// Decision: no READY_GROUPS, and a provision job with TRIGGERS=false. Kafka intake starts at the oldest event where nothing is committed (start=oldest, its default), also on
// partitions that are added, so an event that comes before its reader is not missed.
//
// Consequences: collect is ready once its topics are there. Whoever provisioned for Triggers and changed over deletes their groups (kafka-consumer-groups.sh --delete), or hears of them
// from the alerts until Kafka forgets them.
package direct
