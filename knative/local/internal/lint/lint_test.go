package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// found lints one file's content as a set.
func found(t *testing.T, content string, options Options) []Finding {
	t.Helper()
	file := filepath.Join(t.TempDir(), "m.yaml")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	findings, err := Check(filepath.Dir(file), nil, []Group{{Name: "test", Paths: []string{file}}}, options)
	if err != nil {
		t.Fatal(err)
	}
	return findings
}

func codes(findings []Finding) []Code {
	all := make([]Code, len(findings))
	for i, f := range findings {
		all[i] = f.Code
	}
	return all
}

// Objects that cases share: two Brokers, of which one has a Trigger, and two functions.
const (
	dead = `
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: dead, namespace: n, annotations: {eventing.knative.dev/broker.class: Kafka, kafka.eventing.knative.dev/external.topic: events.dead}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: keep, namespace: n}
spec:
  broker: dead
  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: keep}}
  delivery: {retry: 3, backoffPolicy: linear, backoffDelay: PT1S, deadLetterSink: {uri: "http://outside.example.com/"}}
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: keep, namespace: n}
spec: {template: {spec: {containers: [{image: i}]}}}
---`
	raw = dead + `
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: raw, namespace: n, annotations: {eventing.knative.dev/broker.class: Kafka, kafka.eventing.knative.dev/external.topic: events.raw}}
spec:
  delivery: {retry: 5, backoffPolicy: linear, backoffDelay: PT2S, deadLetterSink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: dead}}}
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: rate, namespace: n}
spec: {template: {spec: {timeoutSeconds: 60, containers: [{image: i}]}}}
---`
	toDead = `deadLetterSink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: dead}}`
)

// trigger is a Trigger of Broker raw for the function rate, with further lines of its spec.
func trigger(lines ...string) string {
	return raw + `
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: rate, namespace: n}
spec:
  broker: raw
  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: rate}}
  ` + strings.Join(lines, "\n  ") + "\n"
}

// annotated is trigger with annotations.
func annotated(annotations string, lines ...string) string {
	return strings.Replace(trigger(lines...), "{name: rate, namespace: n}\nspec:\n  broker", "{name: rate, namespace: n, annotations: {"+annotations+"}}\nspec:\n  broker", 1)
}

// channel is content with its Brokers of the channel-based class.
func channel(content string) string {
	return regexp.MustCompile(`broker.class: Kafka, kafka[^}]*`).ReplaceAllString(content, "broker.class: MTChannelBasedBroker")
}

// source is a KafkaSource for the function rate; without removes fields.
func source(without ...string) string {
	text := `
apiVersion: sources.knative.dev/v1
kind: KafkaSource
metadata: {name: foreign, namespace: n}
spec:
  consumerGroup: n-foreign
  ordering: unordered
  topics: [foreign]
  delivery: {retry: 5, backoffPolicy: linear, backoffDelay: PT1S, ` + toDead + `}
  sink: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: rate}}
`
	var kept []string
	for line := range strings.SplitSeq(text, "\n") {
		if !slices.ContainsFunc(without, func(w string) bool { return strings.HasPrefix(line, "  "+w+":") }) {
			kept = append(kept, line)
		}
	}
	return raw + strings.Join(kept, "\n")
}

// function is a workload with an environment.
func function(head, pod, env string) string {
	return "\n---\n" + head + "\nmetadata: {name: f, namespace: n}\nspec:\n  " + pod + "containers: [{image: i, env: [" + env + "]}]}}\n"
}

func ksvc(annotations, env string) string {
	return function("apiVersion: serving.knative.dev/v1\nkind: Service", "template: {metadata: {annotations: {"+annotations+"}}, spec: {", env)
}

func deployment(replicas, env string) string {
	return function("apiVersion: apps/v1\nkind: Deployment", replicas+"template: {spec: {", env)
}

func scaledObject(kind, name string) string {
	return `
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: f, namespace: n}
spec:
  scaleTargetRef: {` + kind + `, name: ` + name + `}
`
}

const (
	rate    = `{name: rate, namespace: n}`
	intake  = `{name: INTAKE, value: "kafka:///events.raw?group=g"}`
	sinkRaw = `{name: SINK, value: "kafka:///events.raw"}`
	aService,
	aDeployment = "apiVersion: serving.knative.dev/v1, kind: Service", "apiVersion: apps/v1, kind: Deployment"
)

var cases = []struct {
	name    string
	content string
	options Options
	want    []Code
}{
	{name: "a Trigger that inherits", content: trigger()},
	{name: "a Trigger that spells it out", content: trigger("delivery: {retry: 5, " + toDead + "}")},
	{name: "a delivery without the Broker's sink", content: trigger("delivery: {retry: 5}"), want: []Code{DeadLetterDropped}},
	{name: "an empty delivery", content: trigger("delivery: {}"), want: []Code{DeadLetterDropped, RetriesDropped}},
	{name: "a delivery without the Broker's retries", content: trigger("delivery: {" + toDead + "}"), want: []Code{RetriesDropped}},
	{name: "no sink at all", content: strings.Replace(trigger(), `, deadLetterSink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: dead}}`, "", 1), want: []Code{DeadLetterMissing}},
	{name: "a null sink is none", content: trigger("delivery: {retry: 5, deadLetterSink: null}"), want: []Code{DeadLetterDropped}},

	{name: "dead letters to the own Broker", content: trigger("delivery: {retry: 5, deadLetterSink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: raw}}}"), want: []Code{DeadLetterLoop}},
	{name: "dead letters to the own Broker by address", content: trigger(`delivery: {retry: 5, deadLetterSink: {uri: "http://kafka-broker-ingress.knative-eventing.svc.cluster.local/n/raw"}}`), want: []Code{DeadLetterLoop}},
	{name: "dead letters to the own Broker, filtered out", content: trigger("delivery: {retry: 5, deadLetterSink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: raw}}}", `filters: [{cesql: "NOT EXISTS knativeerrordest AND type = 'a'"}]`)},

	{name: "retries as long as the outage", content: annotated("lint.millrace/outage: PT30S")}, // 2 s x (1+2+3+4+5)
	{name: "retries shorter than the outage", content: annotated("lint.millrace/outage: PT30.1S"), want: []Code{OutageLonger}},
	{name: "exponential retries as long", content: annotated("lint.millrace/outage: PT62S", "delivery: {retry: 5, backoffDelay: PT1S, "+toDead+"}")}, // 2+4+8+16+32
	{name: "exponential retries shorter", content: annotated("lint.millrace/outage: PT63S", "delivery: {retry: 5, backoffDelay: PT1S, "+toDead+"}"), want: []Code{OutageLonger}},
	{name: "linear retries of the channel-based class, from 0", content: channel(annotated("lint.millrace/outage: PT10S", "delivery: {retry: 5, backoffPolicy: linear, backoffDelay: PT1S, "+toDead+"}"))}, // 0+1+2+3+4
	{name: "linear retries of the channel-based class, shorter", content: channel(annotated("lint.millrace/outage: PT11S", "delivery: {retry: 5, backoffPolicy: linear, backoffDelay: PT1S, "+toDead+"}")), want: []Code{OutageLonger}},
	{name: "exponential retries of the channel-based class", content: channel(annotated("lint.millrace/outage: PT31S", "delivery: {retry: 5, backoffPolicy: exponential, backoffDelay: PT1S, "+toDead+"}"))}, // 1+2+4+8+16
	{name: "retries of the channel-based class without a policy", content: channel(annotated("lint.millrace/outage: PT1S", "delivery: {retry: 500, backoffDelay: PT10S, "+toDead+"}")), want: []Code{OutageLonger}},
	{name: "no retries at all", content: strings.Replace(annotated("lint.millrace/outage: PT1S"), "{retry: 5, backoffPolicy: linear, backoffDelay: PT2S, ", "{", 1), want: []Code{OutageLonger}},
	{name: "an outage of the namespace", content: trigger() + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: n, annotations: {lint.millrace/outage: PT7S}}\n", want: []Code{OutageLonger}}, // keep: 1+2+3
	{name: "an outage by option", content: source(), options: Options{Outage: 16 * time.Second}, want: []Code{OutageLonger, OutageLonger}},
	{name: "a KafkaSource retries by itself", content: strings.Replace(source(), "retry: 5, backoffPolicy: linear, backoffDelay: PT1S, ", "", 1), options: Options{Outage: 6 * time.Second}},

	{name: "a timeout of the Service's", content: trigger("delivery: {retry: 5, timeout: PT60S, " + toDead + "}")},
	{name: "a timeout above the Service's", content: trigger("delivery: {retry: 5, timeout: PT61S, " + toDead + "}"), want: []Code{TimeoutAboveService}},
	{name: "a timeout above the default", content: strings.Replace(trigger("delivery: {retry: 5, timeout: PT6M, "+toDead+"}"), "timeoutSeconds: 60, ", "", 1), want: []Code{TimeoutAboveService}},
	{name: "a timeout below the default", content: strings.Replace(trigger("delivery: {retry: 5, timeout: PT5M, "+toDead+"}"), "timeoutSeconds: 60, ", "", 1)},
	{name: "a Broker's timeout", content: strings.Replace(trigger(), "{retry: 5,", "{retry: 5, timeout: PT2M,", 1), want: []Code{TimeoutAboveService}},

	{name: "no reply is declared", content: trigger("filters: [{exact: {type: a}}]")},
	{name: "a reply of another type", content: annotated(`lint.millrace/replies: "type=b"`, "filters: [{exact: {type: a}}]")},
	{name: "a reply of the same type", content: annotated(`lint.millrace/replies: "type=b; stage=rated"`, "filters: [{exact: {type: a}}]"), want: []Code{ReplyLoop}},
	{name: "a reply without a filter", content: annotated(`lint.millrace/replies: "type=b"`), want: []Code{ReplyLoop}},
	{name: "a reply that is filtered out by its extension", content: annotated(`lint.millrace/replies: "stage=rated"`, `filters: [{exact: {type: a}}, {cesql: "NOT EXISTS stage"}]`)},
	{name: "a reply that loses its extension", content: annotated(`lint.millrace/replies: "-stage"`, `filters: [{not: {exact: {stage: rated}}}]`), want: []Code{ReplyLoop}},
	{name: "a reply to what has no extension", content: annotated(`lint.millrace/replies: "type=b"`, `filters: [{cesql: "NOT EXISTS replayid"}]`), want: []Code{ReplyLoop}},
	{name: "a reply by prefix", content: annotated(`lint.millrace/replies: "type=trip.rated"`, `filters: [{prefix: {type: "trip."}}]`), want: []Code{ReplyLoop}},
	{name: "a reply by the older filter", content: annotated(`lint.millrace/replies: "type=b"`, `filter: {attributes: {type: a}}`)},
	{name: "a reply by the older filter that it passes", content: annotated(`lint.millrace/replies: "stage=b"`, `filter: {attributes: {type: a}}`), want: []Code{ReplyLoop}},
	{name: "a function that never replies", content: annotated(`lint.millrace/replies: none`)},
	{name: "a reply declared by the function", content: strings.Replace(trigger(), "kind: Service\nmetadata: "+rate, `kind: Service
metadata: {name: rate, namespace: n, annotations: {lint.millrace/replies: "type=b"}}`, 1), want: []Code{ReplyLoop}},
	{name: "SINK to the own topic", content: strings.Replace(trigger(), "timeoutSeconds: 60, containers: [{image: i}]", "containers: [{image: i, env: ["+sinkRaw+"]}]", 1), want: []Code{ReplyLoop}},
	{name: "SINK to the own Broker", content: strings.Replace(trigger(), "timeoutSeconds: 60, containers: [{image: i}]",
		`containers: [{image: i, env: [{name: SINK, value: "http://kafka-broker-ingress.knative-eventing.svc.cluster.local/n/raw"}]}]`, 1), want: []Code{ReplyLoop}},
	{name: "SINK to another topic", content: strings.Replace(trigger(), "timeoutSeconds: 60, containers: [{image: i}]", `containers: [{image: i, env: [{name: SINK, value: "kafka:///events.dead"}]}]`, 1)},
	{name: "SINK and INTAKE of one topic", content: trigger() + deployment("", intake+", "+sinkRaw), want: []Code{ReplyLoop}},

	{name: "filters alone", content: trigger("filters: [{exact: {type: a}}, {suffix: {source: b}}]")},
	{name: "filter beside filters", content: trigger("filter: {attributes: {type: a}}", "filters: [{exact: {type: a}}]"), want: []Code{MixedFilter}},
	{name: "two dialects in an entry", content: trigger(`filters: [{exact: {type: a}, cesql: "TRUE"}]`), want: []Code{MixedFilter}},
	{name: "two dialects deep", content: trigger("filters: [{any: [{not: {exact: {type: a}, prefix: {type: b}}}]}]"), want: []Code{MixedFilter}},
	{name: "two attributes of one dialect", content: trigger("filters: [{exact: {type: a, source: b}}]")},

	{name: "retryAfterMax of class Kafka", content: trigger("delivery: {retry: 5, retryAfterMax: PT10S, format: json, " + toDead + "}"), want: []Code{IgnoredField, IgnoredField}},
	{name: "retryAfterMax of a Broker of class Kafka", content: strings.Replace(trigger(), "{retry: 5,", "{retry: 5, retryAfterMax: PT1S,", 1), want: []Code{IgnoredField}},
	{name: "retryAfterMax of a KafkaSource", content: strings.Replace(source(), "{retry: 5, backoffPolicy: linear, backoffDelay: PT1S", "{retry: 5, retryAfterMax: PT1S", 1), want: []Code{IgnoredField}},
	{
		name: "retryAfterMax of another class", content: strings.Replace(strings.ReplaceAll(trigger("delivery: {retry: 5, retryAfterMax: PT10S, "+toDead+"}"), "class: Kafka", "class: MTChannelBasedBroker"), ", kafka.eventing.knative.dev/external.topic: events.raw", "", 1),
		want: []Code{IgnoredField},
	}, // the topic of Broker dead, not retryAfterMax
	{name: "delivery.order of a Trigger", content: annotated("kafka.eventing.knative.dev/delivery.order: ordered")},
	{name: "a delivery.order that is none", content: annotated("kafka.eventing.knative.dev/delivery.order: fifo"), want: []Code{IgnoredField}},
	{name: "an annotation that is none", content: annotated("kafka.eventing.knative.dev/ordering: ordered"), want: []Code{IgnoredField}},
	{name: "a Trigger's annotation at its Broker", content: strings.Replace(trigger(), "external.topic: events.raw", "delivery.order: ordered", 1), want: []Code{IgnoredField}},

	{name: "a KafkaSource that says all", content: source()},
	{name: "a KafkaSource without a group", content: source("consumerGroup"), want: []Code{SourceWithoutGroup}},
	{name: "a KafkaSource without a delivery", content: source("delivery"), want: []Code{SourceWithoutDelivery}},
	{name: "a KafkaSource without a dead letter sink", content: strings.Replace(source(), "PT1S, "+toDead, "PT1S", 1), want: []Code{SourceWithoutDelivery}},
	{name: "a KafkaSource without an ordering", content: source("ordering"), want: []Code{SourceWithoutOrdering}},
	{
		name: "a KafkaSource of the older version, without anything", content: strings.Replace(source("consumerGroup", "ordering", "delivery"), "sources.knative.dev/v1\n", "sources.knative.dev/v1beta1\n", 1),
		want: []Code{SourceWithoutDelivery, SourceWithoutGroup, SourceWithoutOrdering},
	},

	{name: "Kafka intake that may sleep", content: trigger() + ksvc("", intake), want: []Code{AsleepForGood}},
	{name: "Kafka intake at min-scale 0", content: trigger() + ksvc(`autoscaling.knative.dev/min-scale: "0"`, intake), want: []Code{AsleepForGood}},
	{name: "Kafka intake at min-scale 1", content: trigger() + ksvc(`autoscaling.knative.dev/min-scale: "1"`, intake)},
	{name: "Kafka intake and a scaler that cannot scale it", content: trigger() + ksvc("", intake) + scaledObject(aService, "f"), want: []Code{AsleepForGood, ScalerOfNothing}},
	{name: "HTTP intake that may sleep", content: trigger() + ksvc("", `{name: INTAKE, value: "http://:8080"}`)},
	{name: "a Deployment with Kafka intake", content: trigger() + deployment("", intake)},
	{name: "a Deployment at zero", content: trigger() + deployment("replicas: 0\n  ", intake), want: []Code{AsleepForGood}},
	{name: "a Deployment at zero with a scaler", content: trigger() + deployment("replicas: 0\n  ", intake) + scaledObject(aDeployment, "f") + "  triggers: [{type: kafka, metadata: {consumerGroup: g}}]\n"},
	{name: "a scaler of the function's lag", content: trigger() + deployment("", intake) + scaledObject(aDeployment, "f") + "  triggers: [{type: kafka, metadata: {consumerGroup: g, topic: events.raw}}]\n"},
	{name: "a scaler of the group's lag", content: trigger() + deployment("", intake) + scaledObject(aDeployment, "f") + "  triggers: [{type: kafka, metadata: {consumerGroup: g}}]\n"},
	{name: "a scaler of another group", content: trigger() + deployment("", intake) + scaledObject(aDeployment, "f") + "  triggers: [{type: kafka, metadata: {consumerGroup: h, topic: events.raw}}]\n", want: []Code{ScalerElsewhere}},
	{name: "a scaler of one of two topics", content: trigger() + deployment("", `{name: T, value: events.raw}, {name: INTAKE, value: "kafka:///$(T),events.dead?group=g"}`) + scaledObject(aDeployment, "f") +
		"  triggers: [{type: kafka, metadata: {consumerGroup: g, topicFromEnv: T}}]\n", want: []Code{ScalerElsewhere}},
	{name: "a scaler by something else", content: trigger() + deployment("", intake) + scaledObject(aDeployment, "f") + "  triggers: [{type: cpu, metadata: {value: '80'}}]\n"},
	{name: "a scaler whose target is misspelt", content: trigger() + deployment("", intake) + scaledObject(aDeployment, "g"), want: []Code{ScalerOfNothing}},

	{name: "a subscriber that is not there", content: strings.Replace(trigger(), "name: rate}}\n", "name: raet}}\n", 1), want: []Code{NoReceiver}},
	{name: "a Broker that is not there", content: strings.Replace(trigger(), "broker: raw", "broker: row", 1), want: []Code{NoReceiver}},
	{name: "a dead letter sink that is not there", content: trigger("delivery: {retry: 5, deadLetterSink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: daed}}}"), want: []Code{NoReceiver}},
	{name: "a Broker in another namespace", content: trigger("delivery: {retry: 5, deadLetterSink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: dead, namespace: m}}}"), want: []Code{NoReceiver}},
	{name: "a Broker's address that is not there", content: trigger(`delivery: {retry: 5, deadLetterSink: {uri: "http://kafka-broker-ingress.knative-eventing.svc.cluster.local/n/daed"}}`), want: []Code{NoReceiver}},
	{name: "an address outside", content: trigger(`delivery: {retry: 5, deadLetterSink: {uri: "https://example.com/n/daed"}}`)},
	{name: "a core Service for a Knative one", content: strings.Replace(trigger(), "apiVersion: serving.knative.dev/v1, kind: Service, name: rate", "apiVersion: v1, kind: Service, name: rate", 1), want: []Code{NoReceiver}},
	{name: "a Knative Service for a core one", content: strings.Replace(trigger(), "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: "+rate, "apiVersion: v1\nkind: Service\nmetadata: "+rate, 1), want: []Code{NoReceiver}},
	{name: "an address of a core Service", content: trigger() + ksvc("", `{name: HOOK_URL, value: "http://hook.n.svc.cluster.local"}`) + "---\napiVersion: v1\nkind: Service\nmetadata: {name: hook, namespace: n}\n"},
	{name: "a Subscription's reply that is not there", content: trigger() + `---
apiVersion: messaging.knative.dev/v1
kind: Subscription
metadata: {name: s, namespace: n}
spec: {reply: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: row}}}
`, want: []Code{NoReceiver}},
	{name: "an address of a Service that is not there", content: trigger() + ksvc("", `{name: COLLECT_URL, value: "http://colect.n.svc.cluster.local"}`), want: []Code{NoReceiver}},
	{name: "an address of a Service that is there", content: trigger() + ksvc("", `{name: COLLECT_URL, value: "http://rate.n.svc.cluster.local"}`)},
	{name: "an address of a namespace of others", content: trigger() + ksvc("", `{name: S3_ENDPOINT, value: "http://minio.minio.svc.cluster.local:9000"}`)},

	{name: "a Broker without a Trigger, used by nobody", content: raw},
	{name: "a dead letter sink that nobody reads", content: strings.Replace(trigger(), "broker: dead", "broker: raw", 1), want: []Code{NoReader}},
	{name: "a topic that nobody reads", content: trigger() + ksvc("", `{name: SINK, value: "kafka:///events.rated"}`), want: []Code{NoReader}},
	{name: "a topic that an intake reads", content: trigger() + ksvc("", `{name: SINK, value: "kafka:///events.rated"}`) +
		strings.Replace(deployment("", `{name: INTAKE, value: "kafka://k:9092/events.a,events.rated?group=g"}`), "name: f", "name: g", 1)},
	{name: "a topic that a KafkaSource reads", content: source() + ksvc("", `{name: SINK, value: "kafka:///foreign"}`)},
	{name: "a topic by a variable of the ConfigMap", content: trigger() + strings.Replace(ksvc("", `{name: DEAD_SINK, value: "kafka:///$(TOPIC)"}`), "env:", "envFrom: [{configMapRef: {name: c}}], env:", 1) +
		"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: n}\ndata: {TOPIC: events.daed}\n", want: []Code{NoReader}},

	{name: "an exception with its reason", content: annotated(`lint.millrace/dead-letter-dropped: "it is a sample"`, "delivery: {retry: 5}")},
	{name: "an exception of another code", content: annotated(`lint.millrace/retries-dropped: "it is a sample"`, "delivery: {retry: 5}"), want: []Code{BadAnnotation, DeadLetterDropped}},
	{name: "an exception without a reason", content: annotated(`lint.millrace/dead-letter-dropped: " "`, "delivery: {retry: 5}"), want: []Code{BadAnnotation}},
	{name: "an exception of no code", content: annotated(`lint.millrace/dead-letters: "it is a sample"`), want: []Code{BadAnnotation}},
	{name: "an exception from exceptions", content: annotated(`lint.millrace/bad-annotation: "it is a sample"`), want: []Code{BadAnnotation}},
	{name: "an outage that is no duration", content: annotated(`lint.millrace/outage: 4h`), want: []Code{BadAnnotation}},
	{name: "replies that cannot be read", content: annotated(`lint.millrace/replies: "type"`), want: []Code{BadAnnotation}},

	{name: "a List", content: "apiVersion: v1\nkind: List\nitems:\n- apiVersion: keda.sh/v1alpha1\n  kind: ScaledObject\n  metadata: {name: s}\n  spec: {scaleTargetRef: {name: f}}\n", want: []Code{ScalerOfNothing}},
}

// Guards each rule: it finds its fault, and does not find it in the same manifest without it. No other rule speaks either.
func TestEachRuleFindsItsFaultAndNothingElse(t *testing.T) {
	seen := map[Code]bool{}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			findings := found(t, c.content, c.options)
			got := codes(findings)
			slices.Sort(got)
			want := slices.Clone(c.want)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("got %v, want %v\n%+v", got, want, findings)
			}
			for _, f := range findings {
				if f.File != "m.yaml" || f.Line < 1 || f.Object == "" || f.What == "" || f.Why == "" || f.Write == "" {
					t.Errorf("incomplete: %+v", f)
				}
			}
		})
		for _, code := range c.want {
			seen[code] = true
		}
	}
	for _, r := range Rules() {
		if !seen[r.Code] {
			t.Errorf("no case finds %s", r.Code)
		}
	}
}

// Guards what a person is told to write: as many retries as outlast the outage and not one more, of either policy, with the sums that they are told.
func TestRetriesToWrite(t *testing.T) {
	got := found(t, annotated("lint.millrace/outage: PT5H", "delivery: {retry: 10, backoffDelay: PT1S, "+toDead+"}"), Options{})
	if len(got) != 1 {
		t.Fatalf("%+v", got)
	}
	what := "10 retries, exponential from 1s, end after 34m6s; Trigger n/rate states an outage of 5h0m0s"
	write := "retry: 190, backoffPolicy: linear, backoffDelay: PT1S, whose waits grow to 3m10s; or retry: 14 with the backoff there is, whose waits grow to 4h33m4s"
	if got[0].What != what || got[0].Write != write {
		t.Errorf("got\n%s\n%s\nwant\n%s\n%s", got[0].What, got[0].Write, what, write)
	}
}

// Guards against a manifest, wrong in ways that only an API server would refuse, on which the linter falls over or runs for ever.
func FuzzCheck(f *testing.F) {
	for _, c := range cases {
		f.Add([]byte(c.content))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		objects, err := parse("m.yaml", content)
		if err != nil {
			return
		}
		for _, finding := range newSet("fuzz", objects, Options{Outage: time.Hour}).check() {
			if finding.Line < 1 || finding.What == "" || finding.Write == "" || !known(finding.Code) {
				t.Errorf("incomplete: %+v", finding)
			}
		}
	})
}
