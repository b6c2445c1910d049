package manifest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// A mistake in a manifest must be refused with its place: a difference between the cluster and this platform that nobody sees
// is the failure this package exists to prevent.
func TestBadManifestsAreRefusedWithTheirPlace(t *testing.T) {
	service := "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: collect, namespace: m}\nspec:\n  template:\n"
	trigger := "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: t, namespace: m}\nspec:\n  broker: raw\n  subscriber: {uri: 'http://x'}\n"
	deployment := "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: enrich, namespace: m}\nspec:\n"
	cron := "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: c}\nspec:\n"
	template := "  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{image: x}]}}}}\n"
	tests := []struct{ name, yaml, want string }{
		{"unknown kind", "apiVersion: policy/v1\nkind: Gizmo\n", `f.yaml:2: kind "Gizmo" (policy/v1) does not run here; known here: Broker (eventing.knative.dev/v1), ConfigMap (v1), CronJob (batch/v1), Deployment (apps/v1), Job (batch/v1), JobSink (sinks.knative.dev/v1alpha1), Namespace (v1), PingSource (sources.knative.dev/v1), Secret (v1), Service (serving.knative.dev/v1), ServiceAccount (v1), Trigger (eventing.knative.dev/v1)`},
		{"misspelt kind", "apiVersion: v1\nkind: ConfgMap\n", `f.yaml:2: kind "ConfgMap" (v1) does not run here; did you mean "ConfigMap (v1)"?`},
		{"another version", "apiVersion: v1\nkind: Service\n", `f.yaml:1: Service of apiVersion "v1" does not run here; its apiVersion is "serving.knative.dev/v1"`},
		{"no kind", "a: b\n", `f.yaml:1: apiVersion and kind are missing`},
		{"not a mapping", "- a\n", `f.yaml:1: a manifest must be a mapping with apiVersion and kind, not a list`},
		{"broken YAML", "apiVersion: v1\nkind: [\n", `f.yaml:2: not YAML: did not find expected node content`},
		{"unknown field", service + "    spec:\n      containerConcurency: 1\n      containers: [{image: x}]\n", `f.yaml:7: unknown field "containerConcurency" in Service.spec.template.spec; did you mean "containerConcurrency"?`},
		{"field of a list", service + "    spec:\n      containers:\n        - image: x\n          enviroment: []\n", `f.yaml:9: unknown field "enviroment" in Service.spec.template.spec.containers[0]; known here: args, env, envFrom, image, imagePullPolicy, livenessProbe, name, ports, readinessProbe, resources, securityContext, startupProbe, terminationMessagePath, terminationMessagePolicy, volumeMounts`},
		{"number for a string", service + "    spec:\n      containers:\n        - image: x\n          env:\n            - {name: A, value: 8080}\n", `f.yaml:10: Service.spec.template.spec.containers[0].env[0].value must be a string, not the number 8080: write it in quotes, "8080"`},
		{"YAML 1.1 boolean", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  A: yes\n", `f.yaml:5: ConfigMap.data.A must be a string, not the boolean yes (YAML 1.1): write it in quotes, "yes"`},
		{"key twice", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  A: b\n  A: c\n", `f.yaml:6: ConfigMap.data.A is there twice, first in line 5`},
		{"no name", "apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n", `f.yaml:3: ConfigMap.metadata.name "" must be lower-case letters, digits and hyphens, at most 63`},
		{"object twice", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", `f.yaml:5: ConfigMap default/a is there already, at f.yaml:1`},
		{"secret not base64", "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {K: 'not!'}\n", `f.yaml:4: Secret.data.K is not base64; put plain text under stringData`},
		{"two containers", service + "    spec:\n      containers: [{image: x}, {image: z}]\n", `f.yaml:7: exactly one container runs here, not 2`},
		{"timeout", service + "    spec:\n      timeoutSeconds: 601\n      containers: [{image: x}]\n", `f.yaml:7: timeoutSeconds must be from 1 to 600, Knative's limit`},
		{"annotation", service + "    metadata:\n      annotations:\n        autoscaling.knative.dev/minScale: '1'\n    spec: {containers: [{image: x}]}\n", `f.yaml:8: unknown annotation "autoscaling.knative.dev/minScale"; did you mean "autoscaling.knative.dev/min-scale"?`},
		{"window", service + "    metadata:\n      annotations:\n        autoscaling.knative.dev/window: '6'\n    spec: {containers: [{image: x}]}\n", `f.yaml:8: annotation autoscaling.knative.dev/window must be a duration from 6s to 1h0m0s such as 6s or 1m, not "6"`},
		{"own variable", service + "    spec:\n      containers:\n        - image: x\n          env:\n            - {name: PORT, value: '1'}\n", `f.yaml:10: PORT is Knative's own variable and may not be set`},
		{"mount", service + "    spec:\n      volumes: [{name: v, emptyDir: {}}]\n      containers:\n        - image: x\n          volumeMounts: [{name: v, mountPath: /data}]\n", `f.yaml:10: a process here cannot have a volume at "/data"; only /tmp is known, which becomes its TMPDIR`},
		{"secret's files", service + "    spec:\n      volumes: [{name: v, secret: {secretName: s}}]\n      containers:\n        - image: x\n          volumeMounts: [{name: v, mountPath: /data, readOnly: true}]\n", `f.yaml:10: a process here has no files of Secrets: s must be optional`},
		{"broker class", "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata:\n  name: raw\n", `f.yaml:4: annotation eventing.knative.dev/broker.class must be "Kafka" to run here, not ""`},
		{"filter of two dialects", trigger + "  filters:\n    - exact: {type: a}\n      cesql: 'true'\n", `f.yaml:8: a filter must have exactly one of exact, prefix, suffix, all, any, not, cesql; this one has 2`},
		{"filter with capitals", trigger + "  filters:\n    - exact: {schemaVersion: a}\n", `f.yaml:8: "schemaVersion" is no attribute of a CloudEvent: their names are lower-case letters and digits`},
		{"delay", trigger + "  delivery:\n    backoffDelay: 200ms\n", `f.yaml:8: Trigger.spec.delivery.backoffDelay: "200ms" is no ISO 8601 duration: it does not begin with P; write it like PT0.2S, PT30S, PT5M, P1D`},
		{"policy", trigger + "  delivery:\n    backoffPolicy: quadratic\n", `f.yaml:8: delivery.backoffPolicy must be linear or exponential, not "quadratic"`},
		{"field that class Kafka lacks", trigger + "  delivery:\n    retryAfterMax: PT1S\n", `f.yaml:8: unknown field "retryAfterMax" in Trigger.spec.delivery; known here: backoffDelay, backoffPolicy, deadLetterSink, retry, timeout`},
		{"no sink", "apiVersion: sources.knative.dev/v1\nkind: PingSource\nmetadata: {name: p}\nspec:\n  schedule: '*/5 * * * *'\n", `f.yaml:5: the PingSource's sink needs a ref or a uri`},
		{"schedule", "apiVersion: sources.knative.dev/v1\nkind: PingSource\nmetadata: {name: p}\nspec:\n  schedule: 5m\n  sink: {uri: 'http://x'}\n", `f.yaml:5: schedule must be a cron expression of five fields such as "*/5 * * * *", not "5m"`},
		{"no selector", deployment + "  template: {spec: {containers: [{image: x}]}}\n", `f.yaml:5: a Deployment needs selector.matchLabels`},
		{"selector of other pods", deployment + "  selector: {matchLabels: {app: enrich}}\n  template: {metadata: {labels: {app: enrihc}}, spec: {containers: [{image: x}]}}\n", `f.yaml:5: the template's label app must be "enrich", as selected, not "enrihc"`},
		{"probe without a port", deployment + "  selector: {matchLabels: {app: e}}\n  template:\n    metadata: {labels: {app: e}}\n    spec:\n      containers:\n        - image: x\n          livenessProbe: {httpGet: {path: /healthz}}\n", `f.yaml:11: livenessProbe.httpGet needs a port: only Knative fills it in`},
		{"replicas", deployment + "  replicas: -1\n  selector: {matchLabels: {app: e}}\n  template: {metadata: {labels: {app: e}}, spec: {containers: [{image: x}]}}\n", `f.yaml:5: replicas must not be negative`},
		{"restart policy of a Deployment", deployment + "  selector: {matchLabels: {app: e}}\n  template: {metadata: {labels: {app: e}}, spec: {restartPolicy: Never, containers: [{image: x}]}}\n", `f.yaml:6: a Deployment's restartPolicy must be Always, not "Never"`},
		{"restart policy", "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec:\n  template:\n    spec: {containers: [{image: x}]}\n", `f.yaml:6: a Job's restartPolicy must be Never or OnFailure, not ""`},
		{"schedule of a CronJob", cron + "  schedule: '61 * * * *'\n  concurrencyPolicy: Forbid\n" + template, `f.yaml:5: schedule: minute "61": "61" is not between 0 and 59`},
		{"time zone of a CronJob", cron + "  schedule: '@hourly'\n  timeZone: Nowhere\n  concurrencyPolicy: Forbid\n" + template, `f.yaml:6: timeZone: unknown time zone Nowhere`},
		{"runs side by side", cron + "  schedule: '@hourly'\n" + template, `f.yaml:5: concurrencyPolicy must be Forbid to run here, not ""`},
		{"field of a CronJob", cron + "  schedule: '@hourly'\n  concurencyPolicy: Forbid\n" + template, `f.yaml:6: unknown field "concurencyPolicy" in CronJob.spec; did you mean "concurrencyPolicy"?`},
		{"restart policy of a CronJob", cron + "  schedule: '@hourly'\n  concurrencyPolicy: Forbid\n  jobTemplate: {spec: {template: {spec: {restartPolicy: Always, containers: [{image: x}]}}}}\n", `f.yaml:7: a Job's restartPolicy must be Never or OnFailure, not "Always"`},
		{"deadline of a CronJob", cron + "  schedule: '@hourly'\n  concurrencyPolicy: Forbid\n  jobTemplate: {spec: {activeDeadlineSeconds: 0, template: {spec: {restartPolicy: Never, containers: [{image: x}]}}}}\n", `f.yaml:7: activeDeadlineSeconds must be above 0`},
		{"name of a CronJob", strings.Replace(cron, "name: c", "name: "+strings.Repeat("c", 53), 1) + "  schedule: '@hourly'\n  concurrencyPolicy: Forbid\n" + template, `f.yaml:3: a CronJob's name has at most 52 characters`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := NewSet().Parse("f.yaml", []byte(test.yaml))
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

// Somebody who corrects one mistake at a time starts the platform once for each: all of them must be reported together.
func TestAllErrorsAreReported(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, nam: b}\ndat: {}\n")
	write(t, dir, "b.yaml", "apiVersion: v1\nkind: Nonsense\n")
	write(t, dir, "c.txt", "not read")
	_, err := Load(dir, filepath.Join(dir, "absent"))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"a.yaml:3: ", "a.yaml:4: ", "b.yaml:2: ", "absent"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
}

// A Secret's value must not appear in an error that ends in a log.
func TestErrorsDoNotQuoteSecrets(t *testing.T) {
	for _, field := range []string{"data: {K: 'hunter2!'}", "stringData: {K: 1234567}", "data: 1234567x"} {
		err := NewSet().Parse("f.yaml", []byte("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n"+field+"\n"))
		if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "1234567") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// Everything the platform runs must come out of a manifest as it stands there.
func TestLoad(t *testing.T) {
	set, err := Load("testdata/millrace.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := set.Check(); err != nil {
		t.Fatal(err)
	}
	collect := set.Services[Key{"millrace", "collect"}]
	if !collect.Public() || set.Services[Key{"millrace", "enrich"}].Public() {
		t.Error("visibility is wrong")
	}
	if want := (Scaling{MinScale: 1, Window: 6 * time.Second, Retention: time.Minute}); collect.Scaling != want {
		t.Errorf("scaling %+v, want %+v", collect.Scaling, want)
	}
	if got := collect.Spec.Template.Spec.Timeout(); got != 30*time.Second {
		t.Errorf("timeout %s", got)
	}
	if got := collect.Container().Readiness.HTTPGet.Path; got != "/readyz" {
		t.Errorf("readiness path %q", got)
	}
	if got := set.Brokers[Key{"millrace", "raw"}].Topic(); got != "events.raw" {
		t.Errorf("topic %q", got)
	}
	trigger := set.Triggers[Key{"millrace", "enrich"}]
	delivery := trigger.Spec.Delivery
	if *delivery.Retry != 20 || delivery.BackoffPolicy != BackoffLinear || time.Duration(*delivery.BackoffDelay) != 200*time.Millisecond || time.Duration(*delivery.Timeout) != 90*time.Second {
		t.Errorf("delivery %+v", delivery)
	}
	if ref := delivery.DeadLetterSink.Ref; ref.Kind != "Broker" || ref.Name != "dead" {
		t.Errorf("dead letter sink %+v", ref)
	}
	filters := trigger.Spec.Filters
	if len(filters) != 1 || len(filters[0].All) != 2 || filters[0].All[0].Not.Exact["type"] != "millrace.unparsed" || filters[0].All[1].CESQL != "NOT EXISTS replayid" {
		t.Errorf("filters %+v", filters)
	}
	ping := set.PingSources[Key{"millrace", "drain-raw"}]
	if ping.Spec.Schedule != "*/5 * * * *" || ping.Spec.CEOverrides.Extensions["topic"] != "events.raw" || ping.Spec.Sink.URI != "/drain" {
		t.Errorf("ping source %+v", ping.Spec)
	}
	job := set.Jobs[Key{"millrace", "provision"}]
	if job.BackoffLimit() != 3 {
		t.Errorf("backoffLimit %d", job.BackoffLimit())
	}
	env, err := set.Environment("millrace", "provision-1", job.Container())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := job.Container().ExpandedArgs(env), []string{"-brokers", "kafka:9092", "$(ABSENT)"}; !reflect.DeepEqual(got, want) {
		t.Errorf("args %q, want %q", got, want)
	}
}

// The variables decide which Kafka and which bucket a function uses: each rule of Kubernetes that the files rely on counts.
func TestEnvironment(t *testing.T) {
	set, err := Load("testdata/millrace.yaml")
	if err != nil {
		t.Fatal(err)
	}
	set.Override(Key{"millrace", "millrace"}, map[string]string{"S3_ENDPOINT": "http://127.0.0.1:9000"})
	got, err := set.Environment("millrace", "collect-1", set.Services[Key{"millrace", "collect"}].Container())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"KAFKA_BROKERS": "kafka:9092", "S3_ENDPOINT": "http://127.0.0.1:9000", "ELASTICSEARCH_URL": "http://es:9200",
		"S3_AWS_ACCESS_KEY_ID": "key", "S3_AWS_SECRET_ACCESS_KEY": "secret",
		"POD": "collect-1", "NS": "millrace", "BROKER": "kafka:9092", "SECRET": "secret",
		"SINK": "kafka://kafka:9092/events.raw", "LITERAL": "$(KAFKA_BROKERS)", "LATER": "$(AFTER)", "AFTER": "x", "PRICE": "5$", "OPEN": "$(A",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// A reference that leads nowhere would be a Trigger that never fires or a function that fails at its first request.
func TestReferencesThatLeadNowhere(t *testing.T) {
	set, err := Load("testdata/references.yaml")
	if err != nil {
		t.Fatal(err)
	}
	err = set.Check()
	var first *Error
	if !errors.As(err, &first) {
		t.Fatalf("got %v", err)
	}
	want := []string{
		`testdata/references.yaml:1: Trigger a: there is no Broker m/rwa; did you mean "m/raw"?`,
		`testdata/references.yaml:7: there is no Service m/enrihc; did you mean "m/enrich"?`,
		`testdata/references.yaml:10: a ref to Channel (messaging.knative.dev/v1) does not run here; known are Broker (eventing.knative.dev/v1), Service (serving.knative.dev/v1) and JobSink (sinks.knative.dev/v1alpha1)`,
		`testdata/references.yaml:28: there is no ConfigMap m/nothing; there is none`,
		`testdata/references.yaml:30: there is no Secret m/nothing; there is none`,
	}
	if got := strings.Split(err.Error(), "\n"); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// brokerYAML is a Broker of namespace m.
func brokerYAML(name, sink string) string {
	return "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: " + name + ", namespace: m, annotations: {eventing.knative.dev/broker.class: Kafka}}\n" +
		"spec:\n  delivery:\n    deadLetterSink:\n      " + sink + "\n---\n"
}

func brokerSink(name string) string {
	return "ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: " + name + "}"
}

// A Broker gets its address in a cluster only once its sink has one. One that waits for itself, at once or round a circle, stays not ready for ever and nothing is delivered,
// which the platform here, where Brokers have no addresses to wait for, would never show.
func TestBrokersThatWaitForThemselvesAreRefused(t *testing.T) {
	for _, test := range []struct{ name, yaml, want string }{
		{"itself", brokerYAML("dead", brokerSink("dead")), `f.yaml:7: Broker m/dead is never ready: it waits for the address of its deadLetterSink, which waits for its own (m/dead -> m/dead); write the sink as uri: http://` + IngressHost + `/m/dead`},
		{"a circle, and one that leads to it", brokerYAML("a", brokerSink("b")) + brokerYAML("b", brokerSink("c")) + brokerYAML("c", brokerSink("b")), `f.yaml:15: Broker m/b is never ready: it waits for the address of its deadLetterSink, which waits for its own (m/b -> m/c -> m/b); write the sink as uri: http://` + IngressHost + `/m/c`},
		{"an address waits for nothing", brokerYAML("raw", brokerSink("dead")) + brokerYAML("dead", "uri: http://"+IngressHost+"/m/dead"), ""},
		{"an address that is no Broker's", brokerYAML("dead", "uri: http://"+IngressHost+"/m/daed"), `f.yaml:7: there is no Broker m/daed; did you mean "m/dead"?`},
		{"an address elsewhere", brokerYAML("dead", "uri: http://elsewhere/m/dead"), ""},
		{"a chain that ends", brokerYAML("a", brokerSink("b")) + brokerYAML("b", brokerSink("c")) + brokerYAML("c", "uri: http://elsewhere/"), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			set := NewSet()
			if err := set.Parse("f.yaml", []byte(test.yaml)); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(set.Check()); got != test.want && (got != "<nil>" || test.want != "") {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// A wrong backoff would be retries in a storm, or never.
func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"PT0.2S": 200 * time.Millisecond, "PT30S": 30 * time.Second, "PT1M30S": 90 * time.Second, "P1D": 24 * time.Hour, "P1W": 168 * time.Hour,
		"P1DT1H0.5M": 25*time.Hour + 30*time.Second, "PT0S": 0, "PT0.000000001S": 1, "PT36H": 36 * time.Hour,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%s: got %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "P", "PT", "1S", "P1S", "PT1D", "PT1S1M", "PT1", "PTS", "PT.5S", "PT1.S", "PT1.5M1S", "P1M", "P1Y", "-PT1S", "PT-1S", "PT1..5S", "PT99999999999S", "P1DT", "PT1ST"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q was read as %s", text, got)
		}
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
