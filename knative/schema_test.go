package knative_test

import (
	"bytes"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"millrace/knative/internal/crdtest"
)

// schemas returns the schemas of all kinds of Knative, its Kafka components among them, and of KEDA, as they are released.
func schemas(t *testing.T) crdtest.Schemas {
	t.Helper()
	released := filepath.Join(crdtest.Dir(t, crdtest.Knative), "cmd", "operator", "kodata")
	keda := filepath.Join(crdtest.Dir(t, crdtest.KEDA), "config", "crd", "bases")
	return crdtest.Read(t,
		filepath.Join(released, "knative-serving", "1.23.0", "1-serving-crds.yaml"),
		filepath.Join(released, "knative-eventing", "1.23.0", "1-eventing-crds.yaml"),
		filepath.Join(released, "eventing-source", "1.23", "kafka", "eventing-kafka-controller.yaml"),
		filepath.Join(keda, "keda.sh_scaledobjects.yaml"),
		filepath.Join(keda, "keda.sh_triggerauthentications.yaml"),
	)
}

// Guards against a manifest that an API server would refuse, or whose misspelt field it would drop without a word, for every kind of Knative and KEDA in this tree, those among them that the
// cluster of our tests does not have; and against a check that passes everything.
func TestPublishedSchemas(t *testing.T) {
	all := schemas(t) // read once: they are large
	t.Run("our manifests pass", func(t *testing.T) { pass(t, all) })
	t.Run("faults are refused", func(t *testing.T) { refuse(t, all) })
}

func pass(t *testing.T, all crdtest.Schemas) {
	seen := 0
	for _, root := range []string{".", "../triggers"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && (d.Name() == "local" || d.Name() == "testdata") {
				return filepath.SkipDir
			}
			if d.IsDir() || filepath.Ext(path) != ".yaml" {
				return nil
			}
			for _, o := range crdtest.Objects(t, path) {
				group, _, _ := strings.Cut(o["apiVersion"].(string), "/")
				if !strings.HasSuffix(group, "knative.dev") && group != "keda.sh" {
					continue // Kubernetes' own, which every cluster checks
				}
				seen++
				if err := all.Validate(t, o); err != nil {
					t.Errorf("%s: %v", path, err)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen < 30 {
		t.Errorf("only %d objects were found", seen)
	}
}

// kafkaKinds is what foreign topics and replays are read by, and a sink, with the fields that matter: what is right, which the faults are made from.
const kafkaKinds = `
apiVersion: sources.knative.dev/v1
kind: KafkaSource
metadata: {name: s, namespace: millrace}
spec:
  bootstrapServers: ["kafka.kafka.svc.cluster.local:9092"]
  topics: [events.raw]
  consumerGroup: millrace-s
  initialOffset: earliest
  ordering: unordered
  consumers: 1
  ceOverrides: {extensions: {replayid: r}}
  delivery: {retry: 200, backoffPolicy: linear, backoffDelay: PT1S, timeout: PT60S, deadLetterSink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: dead}}}
  sink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: raw}}
---
apiVersion: eventing.knative.dev/v1alpha1
kind: KafkaSink
metadata: {name: s, namespace: millrace}
spec: {topic: events.raw, bootstrapServers: ["kafka.kafka.svc.cluster.local:9092"], contentMode: binary}
`

func refuse(t *testing.T, all crdtest.Schemas) {
	for _, o := range crdtest.Parse(t, "kafkaKinds", []byte(kafkaKinds)) {
		if err := all.Validate(t, o); err != nil {
			t.Error(err)
		}
	}
	for _, c := range []struct{ what, old, new string }{
		{"a misspelt field", "consumerGroup:", "consumergroup:"},
		{"a misspelt field deep", "deadLetterSink:", "deadletterSink:"},
		{"a topic that is no list", "topics: [events.raw]", "topics: events.raw"},
		{"a number as text", "retry: 200", `retry: "200"`},
		{"no topics", "  topics: [events.raw]\n", ""},
		{"a ref without a name", ", name: raw}", "}"},
		{"an extension that is no text", "replayid: r", "replayid: 1"},
		{"an unknown mode", "contentMode: binary", "contentMode: avro"},
		{"no servers", `, bootstrapServers: ["kafka.kafka.svc.cluster.local:9092"]`, ""},
		{"a version that is not served", "eventing.knative.dev/v1alpha1", "eventing.knative.dev/v1"},
	} {
		spoilt := bytes.Replace([]byte(kafkaKinds), []byte(c.old), []byte(c.new), 1)
		if bytes.Equal(spoilt, []byte(kafkaKinds)) {
			t.Fatalf("%s changes nothing", c.what)
		}
		refused := false
		for _, o := range crdtest.Parse(t, c.what, spoilt) {
			refused = refused || all.Validate(t, o) != nil
		}
		if !refused {
			t.Errorf("%s passes", c.what)
		}
	}
}
