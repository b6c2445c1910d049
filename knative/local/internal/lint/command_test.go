package lint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// checkout is the root of the tree that this test is in.
const checkout = "../../../.."

// run runs the command in root.
func run(t *testing.T, root, in string, args ...string) (out, errs string, err error) {
	t.Helper()
	var o, e bytes.Buffer
	err = Run(args, Environment{Root: root, In: strings.NewReader(in), Out: &o, Err: &e})
	return o.String(), e.String(), err
}

// Guards our own manifests against the traps, in every set that is applied: knative with triggers, the overlays, KEDA beside them.
func TestOurManifestsAreClean(t *testing.T) {
	root, err := filepath.Abs(checkout)
	if err != nil {
		t.Fatal(err)
	}
	if out, errs, err := run(t, root, ""); err != nil {
		t.Errorf("%v\n%s%s", err, out, errs)
	}
	groups, err := Groups(root, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, g := range groups {
		names = append(names, g.Name)
	}
	for _, name := range []string{"knative, triggers", "knative/direct", "knative/direct, knative/direct/keda", "knative/direct, knative/direct/keda/secured"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is not linted, only %q", name, names)
		}
	}
}

// Guards against a check of our manifests that finds nothing whatever they say: each of these changes is found in its file.
func TestSpoiltManifestsOfOursAreFound(t *testing.T) {
	for _, c := range []struct {
		file, old, new string
		want           Code
	}{
		{"triggers/enrich.yaml", "    deadLetterSink:\n", "    sink:\n", DeadLetterDropped},
		{"triggers/enrich.yaml", "retry: 200", "retry: 20", OutageLonger},
		{"triggers/enrich.yaml", "timeout: PT60S", "timeout: PT301S", TimeoutAboveService},
		{"triggers/load-search-dead.yaml", "lint.millrace/dead-letter-loop: \"", "lint.millrace/no-reader: \"", DeadLetterLoop},
		{"knative/410-enrich.yaml", "kafka:///$(TOPIC_ENRICHED)", "kafka:///$(TOPIC_RAW)", ReplyLoop},
		{"knative/400-collect.yaml", "kafka:///$(TOPIC_DEAD)", "kafka:///$(TOPIC_DEAD)s", NoReader},
		{"knative/500-drains.yaml", "name: load-lake", "name: load-lakes", NoReceiver},
		{"knative/direct/keda/enrich.yaml", "    name: enrich", "    name: enricher", ScalerOfNothing},
		{"knative/direct/410-enrich.yaml", "spec:\n  #", "spec:\n  replicas: 0\n  #", AsleepForGood},
	} {
		root := t.TempDir()
		for _, dir := range []string{"knative", "triggers"} {
			if err := os.CopyFS(filepath.Join(root, dir), manifests(t, filepath.Join(checkout, dir))); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(root, c.file)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(content, []byte(c.old)) {
			t.Fatalf("%s has no %q any more", c.file, c.old)
		}
		if err := os.WriteFile(path, bytes.Replace(content, []byte(c.old), []byte(c.new), 1), 0o600); err != nil {
			t.Fatal(err)
		}
		out, _, err := run(t, root, "", "-format", "json")
		if !errors.Is(err, ErrFound) {
			t.Errorf("%s with %s: %v", c.file, c.new, err)
			continue
		}
		var findings []Finding
		if err := json.Unmarshal([]byte(out), &findings); err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(findings, func(f Finding) bool { return f.Code == c.want && f.File == c.file }) {
			t.Errorf("%s with %s: %s", c.file, c.new, out)
		}
	}
}

// Guards the forms: what a person reads names everything, JSON is JSON also of nothing, and GitHub's commands stay on one line whatever a manifest says.
func TestForms(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a,b.yaml")
	if err := os.WriteFile(file, []byte("# a comment\napiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: s, namespace: n}\nspec:\n  scaleTargetRef:\n    name: \"100%\\n\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := Finding{
		Code: ScalerOfNothing, File: "a,b.yaml", Line: 7, Object: "ScaledObject n/s", What: "there is no Deployment n/100%\n", Why: why(ScalerOfNothing),
		Write: "the name of an object that is applied with it; here is no Deployment", Set: file,
	}
	out, _, err := run(t, dir, "", "-format=json", file)
	var got []Finding
	if jsonErr := json.Unmarshal([]byte(out), &got); jsonErr != nil || !errors.Is(err, ErrFound) || !slices.Equal(got, []Finding{want}) {
		t.Errorf("json: %v, %v, got %+v, want %+v", err, jsonErr, got, want)
	}
	out, _, err = run(t, dir, "", "-format=github", file)
	line := "::error file=a%2Cb.yaml,line=7,title=scaler-of-nothing%3A ScaledObject n/s::there is no Deployment n/100%25%0A%0AWhy: " + want.Why + "%0AWrite: " + want.Write + "\n"
	if out != line || !errors.Is(err, ErrFound) {
		t.Errorf("github: %v, got\n%swant\n%s", err, out, line)
	}
	out, _, err = run(t, dir, "", file)
	for _, part := range []string{"a,b.yaml:7: scaler-of-nothing: ScaledObject n/s\n", want.Why, want.Write, "1 found"} {
		if !strings.Contains(out, part) || !errors.Is(err, ErrFound) {
			t.Errorf("text: %v, no %q in\n%s", err, part, out)
		}
	}
	for format, want := range map[string]string{"text": "", "json": "[]\n", "github": ""} {
		if out, errs, err := run(t, dir, "apiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n", "-format", format, "-"); err != nil || out != want || errs != "" {
			t.Errorf("%s of nothing: %v, %q, %q", format, err, out, errs)
		}
	}
}

// Guards against an answer of "clean" where nothing was read: what cannot be read is an error, never silence, and so are arguments that mean nothing.
func TestWhatCannotBeLintedIsAnError(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte("resources: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		in    string
		args  []string
		usage bool
	}{
		"no such file":         {args: []string{filepath.Join(dir, "none.yaml")}},
		"a kustomization":      {args: []string{dir}},
		"no YAML":              {in: "a: [", args: []string{"-"}},
		"no manifest":          {in: "a: b", args: []string{"-"}},
		"an endless anchor":    {in: "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nspec: &a {b: *a}", args: []string{"-"}},
		"a list":               {in: "- a", args: []string{"-"}},
		"nothing at all":       {in: "---\n", args: []string{"-"}},
		"an empty directory":   {args: []string{t.TempDir()}},
		"an unknown format":    {args: []string{"-format", "xml", "-"}, usage: true},
		"an unknown flag":      {args: []string{"-strict"}, usage: true},
		"an outage of nothing": {args: []string{"-outage", "0s", "-"}, usage: true},
		"no outage":            {args: []string{"-outage", "soon", "-"}, usage: true},
		"no checkout":          {args: nil},
	} {
		out, errs, err := run(t, dir, c.in, c.args...)
		if err == nil || errors.Is(err, ErrFound) || errors.Is(err, ErrUsage) != c.usage || c.usage != (errs != "") {
			t.Errorf("%s: %v, %q, %q", name, err, out, errs)
		}
	}
}

// Guards the help: whoever meets a code finds there what it means, and how an exception is made.
func TestHelpExplainsEveryCode(t *testing.T) {
	out, _, err := run(t, t.TempDir(), "", "--help")
	if err != nil {
		t.Fatal(err)
	}
	parts := []string{annotationOutage, annotationReplies, prefix + string(DeadLetterLoop), "-outage", "-format"}
	for _, r := range Rules() {
		parts = append(parts, "  "+string(r.Code)+"\n", r.Trap, r.Why)
	}
	for _, part := range parts {
		if !strings.Contains(out, part) {
			t.Errorf("no %q in the help", part)
		}
	}
}

// Guards -outage: ISO 8601 as manifests write it and Go's form are the same, and either is in place of what annotations say.
func TestOutageOption(t *testing.T) {
	content := annotated("lint.millrace/outage: PT1S")
	for arg, want := range map[string]error{"PT6S": nil, "6s": nil, "PT31S": ErrFound, "31s": ErrFound} {
		if out, _, err := run(t, t.TempDir(), content, "-outage", arg, "-"); !errors.Is(err, want) {
			t.Errorf("%s: %v\n%s", arg, err, out)
		}
	}
}

// Guards a kustomized overlay against being linted unrendered, and against being left out without a word.
func TestKustomizationIsLeftOutWithAWord(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"knative/jobs", "knative/other", "triggers"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for file, content := range map[string]string{"other/kustomization.yaml": "resources: []\n", "n.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n"} {
		if err := os.WriteFile(filepath.Join(root, "knative", file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, errs, err := run(t, root, ""); err != nil || !strings.Contains(errs, "kubectl kustomize") || !strings.Contains(errs, "knative/other") {
		t.Errorf("%v, %q", err, errs)
	}
}

// Guards against one fault that is told once for each overlay that has the file, under the link's name; and an exception that hides something in one of them against being called stale.
func TestAFileOfSeveralSetsIsToldOnce(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"knative/other", "knative/jobs", "triggers"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	const source = "apiVersion: sources.knative.dev/v1\nkind: PingSource\nmetadata: {name: p%s}\nspec: {sink: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: %s}}}\n"
	for file, content := range map[string]string{
		"p.yaml": fmt.Sprintf(source, "", "nowhere"),
		// Its target is in the other set alone.
		"q.yaml":       fmt.Sprintf(source, `q, annotations: {lint.millrace/no-receiver: "it is a sample"}`, "f"),
		"other/f.yaml": "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: f}\nspec: {template: {spec: {containers: [{image: i}]}}}\n",
	} {
		if err := os.WriteFile(filepath.Join(root, "knative", file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"p.yaml", "q.yaml"} {
		if err := os.Symlink("../"+name, filepath.Join(root, "knative/other", name)); err != nil {
			t.Skipf("no symbolic links here: %v", err)
		}
	}
	out, _, err := run(t, root, "", "-format", "json")
	var findings []Finding
	if jsonErr := json.Unmarshal([]byte(out), &findings); jsonErr != nil || !errors.Is(err, ErrFound) {
		t.Fatalf("%v, %v", err, jsonErr)
	}
	if len(findings) != 1 || findings[0].Code != NoReceiver || findings[0].File != "knative/p.yaml" || findings[0].Line != 4 {
		t.Errorf("%+v", findings)
	}
}

// manifests is a directory without Go files and what cannot be copied: links are followed, as on a filesystem that has none.
func manifests(t *testing.T, dir string) fs.FS {
	t.Helper()
	all := fstest.MapFS{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" || strings.Contains(path, "testdata") {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		all[filepath.ToSlash(rel)] = &fstest.MapFile{Data: content, Mode: 0o600}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
