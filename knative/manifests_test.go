package knative_test

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
)

type object = map[string]any

// read returns all objects of a file.
func read(t *testing.T, file string) []object {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []object
	for d := yaml.NewDecoder(bytes.NewReader(b)); ; {
		var o object
		if err := d.Decode(&o); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, o)
	}
}

// at returns what is at a path of keys below o, nil where there is nothing.
func at(o any, keys ...string) any {
	for _, key := range keys {
		m, ok := o.(object)
		if !ok {
			return nil
		}
		o = m[key]
	}
	return o
}

// Guards against a pod that has more rights than the namespace allows, which a cluster would refuse at night: every container of every manifest is as strict as all others.
func TestContainersAreRestricted(t *testing.T) {
	want := object{
		"runAsNonRoot": true, "runAsUser": 65532, "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
		"capabilities": object{"drop": []any{"ALL"}}, "seccompProfile": object{"type": "RuntimeDefault"},
	}
	seen := 0
	for _, pattern := range []string{"*.yaml", "jobs/*.yaml", "direct/*.yaml", "direct/jobs/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			for _, o := range read(t, file) {
				spec := at(o, "spec")
				for _, key := range []string{"jobTemplate", "job"} {
					if inner := at(spec, key, "spec"); inner != nil {
						spec = inner
					}
				}
				pod, ok := at(spec, "template", "spec").(object)
				if !ok {
					continue
				}
				for _, c := range pod["containers"].([]any) {
					seen++
					if got := at(c, "securityContext"); !reflect.DeepEqual(got, want) {
						t.Errorf("%s: securityContext %v", file, got)
					}
					if at(c, "resources", "requests", "memory") == nil || at(c, "resources", "limits", "memory") == nil {
						t.Errorf("%s: no memory is asked for, or it has no limit", file)
					}
				}
				if pod["automountServiceAccountToken"] != false || pod["serviceAccountName"] != "millrace" {
					t.Errorf("%s: it has a token of Kubernetes, or another account", file)
				}
			}
		}
	}
	if seen < 15 {
		t.Errorf("only %d containers were found", seen)
	}
}

// Guards the schedule of curate: two runs side by side, a retry that fails the same way six times, a run that hangs for ever, and a pod of an event that drifts from that of the schedule.
func TestCurate(t *testing.T) {
	cron := read(t, "440-curate.yaml")[0]
	job := at(cron, "spec", "jobTemplate", "spec")
	for name, got := range map[string]bool{
		"concurrencyPolicy":       at(cron, "spec", "concurrencyPolicy") == "Forbid",
		"startingDeadlineSeconds": at(cron, "spec", "startingDeadlineSeconds") != nil,
		"backoffLimit":            at(job, "backoffLimit") == 0,
		"activeDeadlineSeconds":   at(job, "activeDeadlineSeconds") != nil,
		"ttlSecondsAfterFinished": at(job, "ttlSecondsAfterFinished") != nil,
		"timeZone":                at(cron, "spec", "timeZone") == nil, // every five minutes is the same everywhere
	} {
		if !got {
			t.Errorf("%s: %v", name, cron)
		}
	}
	if event := at(read(t, "jobs/curate-on-event.yaml")[0], "spec", "job", "spec"); !reflect.DeepEqual(event, job) {
		t.Errorf("an event starts\n%v\nthe schedule\n%v", event, job)
	}
}

// Guards the Job that erases: started as it lies here it only looks, and names nobody; it has the pod of curate, the Secrets that an erasure needs beside those, and no others.
func TestEraseLooksFirst(t *testing.T) {
	job := read(t, "jobs/curate-erase.yaml")[0]
	pod := at(job, "spec", "template", "spec")
	run := at(read(t, "440-curate.yaml")[0], "spec", "jobTemplate", "spec", "template", "spec")
	erase, curate := at(pod, "containers").([]any)[0], at(run, "containers").([]any)[0]
	if got, want := at(erase, "args"), any([]any{"erase", "--subjects=/etc/millrace/erasure/subjects", "--ids=/etc/millrace/erasure/ids"}); !reflect.DeepEqual(got, want) {
		t.Errorf("args %v, want %v", got, want)
	}
	for _, key := range []string{"image", "env", "resources", "securityContext"} {
		if !reflect.DeepEqual(at(erase, key), at(curate, key)) {
			t.Errorf("%s: %v, and curate's %v", key, at(erase, key), at(curate, key))
		}
	}
	names := func(list any, keys ...string) (out []string) {
		for _, one := range list.([]any) {
			if name, ok := at(one, keys...).(string); ok {
				out = append(out, name)
			}
		}
		slices.Sort(out)
		return out
	}
	secrets := append(names(at(erase, "envFrom"), "secretRef", "name"), names(at(pod, "volumes"), "secret", "secretName")...)
	if got, want := strings.Join(secrets, " "), "millrace-catalog millrace-s3 millrace-search millrace-catalog-file millrace-erasure millrace-s3-file millrace-search-file"; got != want {
		t.Errorf("secrets %s, want %s", got, want)
	}
	if at(job, "metadata", "name") != nil || at(job, "metadata", "generateName") == nil || at(job, "spec", "activeDeadlineSeconds") == nil || at(pod, "restartPolicy") != "Never" {
		t.Errorf("%v", job)
	}
}

// Guards against an image of curate without DuckDB, or one that asks a bare base image for libraries: ko builds it by itself, with cgo and linked statically, and everything else without.
func TestCurateIsBuiltWithDuckDB(t *testing.T) {
	settings := read(t, "../.ko.yaml")[0]
	builds, _ := settings["builds"].([]any)
	if len(builds) != 1 || at(builds[0], "main") != "./functions/curate" || at(builds[0], "dir") != "." {
		t.Fatalf("builds: %v", builds)
	}
	list := func(key string) string {
		var words []string
		for _, one := range at(builds[0], key).([]any) {
			words = append(words, one.(string))
		}
		return strings.Join(words, " ")
	}
	if list("env") != "CGO_ENABLED=1" || !strings.Contains(list("flags"), "-tags=osusergo,netgo") || !strings.Contains(list("ldflags"), `-linkmode external -extldflags "-static"`) {
		t.Errorf("built with %s, %s, %s", list("env"), list("flags"), list("ldflags"))
	}
	for _, one := range settings["defaultFlags"].([]any) {
		if !strings.Contains(list("flags"), one.(string)) {
			t.Errorf("flags of a build replace the default ones: %v is missing", one)
		}
	}
	if !slices.Contains(settings["defaultEnv"].([]any), any("CGO_ENABLED=0")) {
		t.Error("the other functions are built with cgo")
	}
}
