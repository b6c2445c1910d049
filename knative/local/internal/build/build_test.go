package build

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func module(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	files["go.mod"] = "module example\n\ngo 1.26\n"
	for name, content := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// The binary must be the one of the tree as it is, also the second time, and a slow build must not look like one that hangs.
func TestBuild(t *testing.T) {
	main := func(text string) string { return "package main\n\nfunc main() { println(\"" + text + "\") }\n" }
	root := module(t, map[string]string{"functions/one/main.go": main("one"), "functions/two/main.go": main("two")})
	var out bytes.Buffer
	b := &Builder{Root: root, Bin: filepath.Join(t.TempDir(), "bin"), Progress: &out}
	run := func(want string) {
		t.Helper()
		binaries, err := b.Build(t.Context(), []string{"ko://example/functions/two", "ko://example/functions/one", "ko://example/functions/one"})
		if err != nil {
			t.Fatal(err)
		}
		got, err := exec.CommandContext(t.Context(), binaries["ko://example/functions/one"]).CombinedOutput()
		if err != nil || string(got) != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	run("one\n")
	if text := out.String(); !strings.Contains(text, "building one (") || !strings.Contains(text, "/2), ") || !strings.Contains(text, "built one, two in ") {
		t.Errorf("progress:\n%s", text)
	}
	if err := os.WriteFile(filepath.Join(root, "functions/one/main.go"), []byte(main("changed")), 0o600); err != nil {
		t.Fatal(err)
	}
	run("changed\n")
}

// A developer whose change does not compile must see every message of the compiler.
func TestErrorsAreShownWhole(t *testing.T) {
	root := module(t, map[string]string{
		"one/main.go": "package main\n\nfunc main() {\n\tabsent()\n\tmissing()\n}\n",
		"two/main.go": "package main\n\nimport \"example/nowhere\"\n\nfunc main() { nowhere.F() }\n",
	})
	b := &Builder{Root: root, Bin: t.TempDir(), Progress: &bytes.Buffer{}}
	for image, wants := range map[string][]string{
		"ko://example/one":    {"one/main.go:4:2: undefined: absent", "one/main.go:5:2: undefined: missing"},
		"ko://example/two":    {"two/main.go:3:8: package example/nowhere is not in std"},
		"ko://example/absent": {"example/absent"},
	} {
		_, err := b.Build(t.Context(), []string{image})
		var failed *Error
		if !errors.As(err, &failed) {
			t.Errorf("%s: %v", image, err)
			continue
		}
		for _, want := range wants {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q is not in\n%v", image, want, err)
			}
		}
	}
}

// An image that cannot be built must be refused with its name; two that would overwrite each other as well.
func TestRefusedImages(t *testing.T) {
	b := &Builder{Root: t.TempDir(), Bin: t.TempDir(), Progress: &bytes.Buffer{}}
	for _, test := range []struct {
		images []string
		want   string
	}{
		{[]string{"docker.io/library/postgres:17"}, `image "docker.io/library/postgres:17" cannot run here`},
		{[]string{"ko://example/a/x", "ko://example/b/x"}, "example/a/x and example/b/x would both be the binary x"},
	} {
		if _, err := b.Build(t.Context(), test.images); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v", test.images, err)
		}
	}
}

// The command must work from anywhere in the checkout, and say so where it is started elsewhere.
func TestRoot(t *testing.T) {
	root := module(t, map[string]string{"a/b/x.go": "package b\n", "nested/go.mod": "module other\n"})
	for _, dir := range []string{".", "a/b", "nested"} {
		if got, err := Root(filepath.Join(root, dir), "example"); err != nil || got != root {
			t.Errorf("%s: got %s, %v", dir, got, err)
		}
	}
	if _, err := Root(t.TempDir(), "example"); err == nil || !strings.Contains(err.Error(), "is not within a checkout") {
		t.Errorf("got %v", err)
	}
}

// A machine without a C compiler must be told from one that has it, by the packages that ko's settings build with one: a link that fails would take every function with it.
func TestCompiler(t *testing.T) {
	root := module(t, map[string]string{".ko.yaml": "defaultEnv: [CGO_ENABLED=0]\nbuilds:\n  - {id: a, dir: ., main: ./functions/a, env: [CGO_ENABLED=1, X=y], ldflags: [-s]}\n  - {id: b, main: functions/b}\n"})
	b := &Builder{Root: root}
	need, err := b.NeedC()
	if err != nil || len(need) != 1 || !need["ko://example/functions/a"] {
		t.Errorf("%v, %v", need, err)
	}
	if need, err := (&Builder{Root: module(t, map[string]string{})}).NeedC(); err != nil || len(need) > 0 {
		t.Errorf("without settings: %v, %v", need, err)
	}
	go1, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	t.Setenv("CGO_ENABLED", "1")
	t.Setenv("CC", go1+" -flag") // a program that is there will do
	t.Setenv("CXX", go1)
	if why, err := b.Compiler(t.Context()); err != nil || why != "" {
		t.Errorf("%q, %v", why, err)
	}
	t.Setenv("CC", filepath.Join(bin, "none")+" -m64")
	if why, err := b.Compiler(t.Context()); err != nil || why != filepath.Join(bin, "none")+" is not found" {
		t.Errorf("no compiler: %q, %v", why, err)
	}
	t.Setenv("CC", go1)
	t.Setenv("CGO_ENABLED", "0")
	if why, err := b.Compiler(t.Context()); err != nil || why != "CGO_ENABLED is 0" {
		t.Errorf("without cgo: %q, %v", why, err)
	}
}
