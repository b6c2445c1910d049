package direct

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"millrace/knative/internal/crdtest"
)

type object = map[string]any

// read returns the one object of a file.
func read(t *testing.T, file string) object {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := yaml.NewDecoder(f)
	var o object
	if err := d.Decode(&o); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if err := d.Decode(new(object)); !errors.Is(err, io.EOF) {
		t.Fatalf("%s: more than one object: %v", file, err)
	}
	return o
}

// at returns the mapping at a path of keys below o; the path must exist.
func at(t *testing.T, o object, keys ...string) object {
	t.Helper()
	for _, key := range keys {
		next, ok := o[key].(object)
		if !ok {
			t.Fatalf("no mapping %s in %v", key, keys)
		}
		o = next
	}
	return o
}

// container returns the first of the template's containers.
func container(t *testing.T, o object) object {
	t.Helper()
	list, ok := at(t, o, "spec", "template", "spec")["containers"].([]any)
	if !ok || len(list) != 1 {
		t.Fatalf("containers %v", list)
	}
	return list[0].(object)
}

// remove deletes what must be there.
func remove(t *testing.T, o object, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if _, ok := o[key]; !ok {
			t.Fatalf("knative/ has no %s any more: the list of differences is out of date", key)
		}
		delete(o, key)
	}
}

// same compares what is there with what is expected, as YAML so that the difference can be read.
func same(t *testing.T, file string, want object) {
	t.Helper()
	got := read(t, file)
	if reflect.DeepEqual(got, want) {
		return
	}
	text := func(o object) string {
		b, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	t.Errorf("%s and ../%s differ by more than they are to; got\n%s\nwant\n%s", file, file, text(got), text(want))
}

// Guards against an overlay that is not complete: a file that is added to knative/ is here as a link, or as a file of its own with its difference below, or left out on purpose.
func TestEveryFileOfKnativeIsHereOrLeftOut(t *testing.T) {
	own := []string{"400-collect.yaml", "410-enrich.yaml", "420-load-search.yaml"}
	out := []string{"300-brokers.yaml"}
	files, err := filepath.Glob("../*.yaml")
	if err != nil || len(files) < 9 {
		t.Fatalf("%v, %v", files, err)
	}
	var names []string
	for _, file := range files {
		name := filepath.Base(file)
		if slices.Contains(out, name) {
			continue
		}
		names = append(names, name)
		target, err := os.Readlink(name)
		switch {
		case slices.Contains(own, name):
			if err == nil {
				t.Errorf("%s is a link, not a file of its own", name)
			}
		case err != nil:
			t.Errorf("%s: neither a link to ../%s nor left out on purpose: %v", name, name, err)
		case target != "../"+name:
			t.Errorf("%s leads to %s, not to ../%s", name, target, name)
		}
	}
	here, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(here, names) {
		t.Errorf("here are %v, want %v", here, names)
	}
}

// Guards against a collect that drifts from that of knative/: it differs by READY_GROUPS alone.
func TestCollectDiffersByReadyGroupsAlone(t *testing.T) {
	want := read(t, "../400-collect.yaml")
	c := container(t, want)
	env := c["env"].([]any)
	i := slices.IndexFunc(env, func(e any) bool { return e.(object)["name"] == "READY_GROUPS" })
	if i < 0 {
		t.Fatal("collect in knative/ has no READY_GROUPS any more")
	}
	c["env"] = slices.Delete(env, i, i+1)
	same(t, "400-collect.yaml", want)
}

// Guards against a provision job that drifts from that of knative/: it differs by TRIGGERS alone.
func TestProvisionDiffersByTriggersAlone(t *testing.T) {
	want := read(t, "../jobs/provision.yaml")
	c := container(t, want)
	c["env"] = slices.Insert(c["env"].([]any), 0, any(object{"name": "TRIGGERS", "value": "false"}))
	same(t, "jobs/provision.yaml", want)
}

// Guards against functions that drift from those of knative/, in limits, secrets or security: a Deployment is the Knative Service but for its kind, what only Knative knows, what only a
// Deployment needs, and INTAKE.
func TestDeploymentsAreTheServicesWithAnIntake(t *testing.T) {
	for file, intake := range map[string]string{
		"410-enrich.yaml":      "kafka:///$(TOPIC_RAW)?group=millrace-enrich&member=static",
		"420-load-search.yaml": "kafka:///$(TOPIC_ENRICHED),$(TOPIC_DEAD)?group=millrace-load-search&member=static",
	} {
		want := read(t, "../"+file)
		name := at(t, want, "metadata")["name"]
		want["apiVersion"], want["kind"] = "apps/v1", "Deployment"
		remove(t, at(t, want, "metadata", "labels"), "networking.knative.dev/visibility")
		remove(t, at(t, want, "spec", "template", "metadata"), "annotations")
		pod := at(t, want, "spec", "template", "spec")
		remove(t, pod, "containerConcurrency", "timeoutSeconds")
		pod["terminationGracePeriodSeconds"] = 30
		at(t, want, "spec")["selector"] = object{"matchLabels": object{"app.kubernetes.io/name": name}}
		c := container(t, want)
		c["name"] = name
		c["ports"] = []any{object{"containerPort": 8080}}
		c["env"] = slices.Insert(c["env"].([]any), 0, any(object{"name": "INTAKE", "value": intake}))
		for _, probe := range []string{"readinessProbe", "livenessProbe"} {
			at(t, c, probe, "httpGet")["port"] = 8080
		}
		same(t, file, want)
	}
}

// published returns the schemas that KEDA publishes of the kinds that are here.
func published(t *testing.T) crdtest.Schemas {
	t.Helper()
	bases := filepath.Join(crdtest.Dir(t, crdtest.KEDA), "config", "crd", "bases")
	return crdtest.Read(t, filepath.Join(bases, "keda.sh_scaledobjects.yaml"), filepath.Join(bases, "keda.sh_triggerauthentications.yaml"))
}

// scaled returns the ScaledObjects by the names of their Deployments.
func scaled(t *testing.T) map[string]object {
	t.Helper()
	files, err := filepath.Glob("keda/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]object{}
	for _, file := range files {
		o := read(t, file)
		all[at(t, o, "spec", "scaleTargetRef")["name"].(string)] = o
	}
	return all
}

// Guards against a ScaledObject that KEDA would refuse, or whose misspelt field the API server would drop without a word. That the check can fail is shown beside it.
func TestScaledObjectsPassTheSchemaOfKEDA(t *testing.T) {
	schemas := published(t)
	for name, o := range scaled(t) {
		if o["apiVersion"] != "keda.sh/v1alpha1" || o["kind"] != "ScaledObject" {
			t.Errorf("%s: %v %v", name, o["apiVersion"], o["kind"])
		}
		if err := schemas.Validate(t, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for what, spoil := range map[string]func(spec object){
			"an unknown field":     func(spec object) { spec["minReplicas"] = 0 },
			"a number as text":     func(spec object) { spec["minReplicaCount"] = "0" },
			"no target":            func(spec object) { delete(spec, "scaleTargetRef") },
			"metadata not as text": func(spec object) { spec["triggers"].([]any)[0].(object)["metadata"].(object)["lagThreshold"] = 10 },
			"an unknown field deep": func(spec object) {
				at(t, spec, "advanced", "horizontalPodAutoscalerConfig", "behavior")["scaledown"] = object{}
			},
		} {
			file := read(t, filepath.Join("keda", name+".yaml"))
			spoil(at(t, file, "spec"))
			if schemas.Validate(t, file) == nil {
				t.Errorf("%s passes with %s", name, what)
			}
		}
	}
}

// Guards against a scaler that looks elsewhere than the function reads, which would let it sleep on its events: Deployment, group and topics are those of INTAKE, the servers and topics are
// named by variables that the Deployment has, and every setting is one that KEDA's Kafka scaler reads (2.17.2; the schema says nothing of them).
func TestScalersLookWhereFunctionsRead(t *testing.T) {
	known := []string{"bootstrapServersFromEnv", "consumerGroup", "topicFromEnv", "lagThreshold", "activationLagThreshold", "offsetResetPolicy", "version"}
	config, err := os.ReadFile("200-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objects := scaled(t)
	for name, file := range map[string]string{"enrich": "410-enrich.yaml", "load-search": "420-load-search.yaml"} {
		deployment := read(t, file)
		intake := container(t, deployment)["env"].([]any)[0].(object)["value"].(string)
		o := objects[name]
		if o == nil {
			t.Errorf("nothing scales %s", name)
			continue
		}
		delete(objects, name)
		for key, want := range map[string]any{"apiVersion": deployment["apiVersion"], "kind": deployment["kind"], "name": at(t, deployment, "metadata")["name"]} {
			if got := at(t, o, "spec", "scaleTargetRef")[key]; got != want {
				t.Errorf("%s: the target's %s is %v, want %v", name, key, got, want)
			}
		}
		if at(t, o, "metadata")["namespace"] != at(t, deployment, "metadata")["namespace"] {
			t.Errorf("%s: its scaler is in another namespace", name)
		}
		var topics []string
		for _, trigger := range at(t, o, "spec")["triggers"].([]any) {
			metadata := at(t, trigger.(object), "metadata")
			for key, value := range metadata {
				variable, isVariable := value.(string)
				if !slices.Contains(known, key) {
					t.Errorf("%s: KEDA's Kafka scaler does not know %s", name, key)
				}
				if isVariable && strings.HasSuffix(key, "FromEnv") && !bytes.Contains(config, []byte("\n  "+variable+": ")) {
					t.Errorf("%s: the ConfigMap has no %s", name, variable)
				}
			}
			topics = append(topics, "$("+metadata["topicFromEnv"].(string)+")")
			if got := "kafka:///" + strings.Join(topics, ",") + "?group=" + metadata["consumerGroup"].(string) + "&member=static"; len(topics) == len(at(t, o, "spec")["triggers"].([]any)) && got != intake {
				t.Errorf("%s scales by %s, and reads %s", name, got, intake)
			}
			if trigger.(object)["type"] != "kafka" || metadata["bootstrapServersFromEnv"] != "KAFKA_BROKERS" || metadata["offsetResetPolicy"] != "earliest" {
				t.Errorf("%s: %v", name, trigger)
			}
		}
	}
	if len(objects) > 0 {
		t.Errorf("scalers of nothing: %v", objects)
	}
}

// Guards a Kafka that asks for TLS and a user against a scaler that cannot reach it, by which a function that sleeps would never wake: the ScaledObjects are the plain ones but for what they say
// of that, pass KEDA's schema, and what they refer to is what the functions themselves use: the Secret that they mount, by the names of its keys, and the ConfigMap's user.
func TestSecuredScalersUseTheFunctionsCredentials(t *testing.T) {
	const name = "millrace-kafka"
	schemas := published(t)
	for _, file := range []string{"enrich.yaml", "load-search.yaml"} {
		want := read(t, "keda/"+file)
		for _, trigger := range at(t, want, "spec")["triggers"].([]any) {
			trigger := trigger.(object)
			trigger["authenticationRef"] = object{"name": name}
			metadata := at(t, trigger, "metadata")
			metadata["tls"], metadata["sasl"] = "enable", "scram_sha512"
		}
		same(t, "keda/secured/"+file, want)
		if err := schemas.Validate(t, read(t, "keda/secured/"+file)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	o := read(t, "keda/secured/authentication.yaml")
	if o["apiVersion"] != "keda.sh/v1alpha1" || o["kind"] != "TriggerAuthentication" || at(t, o, "metadata")["name"] != name || at(t, o, "metadata")["namespace"] != "millrace" {
		t.Errorf("%v %v %v", o["apiVersion"], o["kind"], o["metadata"])
	}
	if err := schemas.Validate(t, o); err != nil {
		t.Error(err)
	}
	config, err := os.ReadFile("200-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	spec := at(t, o, "spec")
	got := map[string]string{}
	for from, list := range spec {
		for _, ref := range list.([]any) {
			ref := ref.(object)
			got[ref["parameter"].(string)] = from + " " + ref["name"].(string) + " " + ref["key"].(string)
		}
	}
	want := map[string]string{ // by the names that KEDA's Kafka scaler reads (2.17.2)
		"ca": "secretTargetRef millrace-kafka ca.crt", "password": "secretTargetRef millrace-kafka password", "username": "configMapTargetRef millrace KAFKA_USER",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("credentials %v, want %v", got, want)
	}
	for _, line := range []string{"KAFKA_CA_FILE: /etc/millrace/kafka/ca.crt", "KAFKA_PASSWORD_FILE: /etc/millrace/kafka/password", "KAFKA_USER: ", "KAFKA_SASL_MECHANISM: SCRAM-SHA-512"} {
		if !bytes.Contains(config, []byte(line)) {
			t.Errorf("the ConfigMap says nothing of %q", line)
		}
	}
	for what, spoil := range map[string]func(){
		"an unknown field":          func() { spec["secretRef"] = []any{} },
		"a reference without a key": func() { delete(spec["secretTargetRef"].([]any)[0].(object), "key") },
	} {
		spoil()
		if schemas.Validate(t, o) == nil {
			t.Errorf("it passes with %s", what)
		}
		delete(spec, "secretRef")
	}
}
