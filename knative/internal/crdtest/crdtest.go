// Package crdtest holds manifests to the schemas of their kinds that projects publish as CustomResourceDefinitions in Go modules, for tests of kinds that no cluster of ours has.
//
// It is as strict as kubectl's --validate=strict: a field that the schema does not name is an error, which an API server would otherwise drop without a word. It does not do what only a server does:
// webhooks, defaults, rules in CEL, the metadata that every object has.
package crdtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

// Object is an object of a manifest, or a part of one.
type Object = map[string]any

// Module is a release of a Go module that carries definitions, and its sum in go.sum's form.
type Module struct{ Version, Sum string }

// The modules whose definitions are asked.
var (
	// Knative carries Serving, Eventing and the Kafka components as they are released: those of the Kafka components are to be had nowhere else as a module.
	Knative = Module{"knative.dev/operator@v0.50.0", "h1:71cMZmGUAlyYlzJpf5qfNC4cSKiahAjd0Hku3hMhzaw="}
	// KEDA carries its own.
	KEDA = Module{"github.com/kedacore/keda/v2@v2.17.2", "h1:xlrcK5TKABJF9PebK79sgL07s/csGjL3H4m72OkZXxk="}
)

// Dir returns the directory of a module, which the go command has or fetches; where it can do neither the test is skipped.
func Dir(t testing.TB, m Module) string {
	t.Helper()
	t.Setenv("GOWORK", "off")
	t.Setenv("GOFLAGS", "")
	// In no module: neither go.mod nor go.sum of this one is touched.
	download := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", m.Version)
	download.Dir = t.TempDir()
	out, err := download.Output()
	if err != nil {
		t.Skipf("%s, which has the schemas, is not to be had: %v %s", m.Version, err, out)
	}
	var module struct{ Dir, Sum string }
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	if module.Sum != m.Sum {
		t.Fatalf("%s has the sum %s, want %s", m.Version, module.Sum, m.Sum)
	}
	return module.Dir
}

// Schemas are the schemas of kinds by apiVersion and kind, with a space between.
type Schemas map[string]*jsonschema.Schema

// Read returns the schemas of the definitions in files; other objects in them are passed over.
func Read(t testing.TB, files ...string) Schemas {
	t.Helper()
	all := Schemas{}
	for _, file := range files {
		for _, o := range Objects(t, file) {
			if o["kind"] == "CustomResourceDefinition" {
				all.define(t, file, o)
			}
		}
	}
	return all
}

// definition is what is used of a CustomResourceDefinition.
type definition struct {
	Spec struct {
		Group    string
		Names    struct{ Kind string }
		Versions []struct {
			Name   string
			Schema struct {
				OpenAPIV3Schema Object `yaml:"openAPIV3Schema"`
			}
		}
	}
}

func (all Schemas) define(t testing.TB, file string, o Object) {
	t.Helper()
	text, err := yaml.Marshal(o)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	var d definition
	if err := yaml.Unmarshal(text, &d); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	for _, v := range d.Spec.Versions {
		name := d.Spec.Group + "/" + v.Name + " " + d.Spec.Names.Kind
		schema := v.Schema.OpenAPIV3Schema
		properties, ok := schema["properties"].(Object)
		if !ok {
			continue // it says nothing, and so is none
		}
		closed(schema)
		// What every object has is the server's own.
		properties["apiVersion"], properties["kind"], properties["metadata"] = Object{"type": "string"}, Object{"type": "string"}, Object{"type": "object"}
		c := jsonschema.NewCompiler()
		c.DefaultDraft(jsonschema.Draft4) // nearest to OpenAPI 3.0
		if err := c.AddResource("schema.json", asJSON(t, schema)); err != nil {
			t.Fatalf("%s: %s: %v", file, name, err)
		}
		if all[name], err = c.Compile("schema.json"); err != nil {
			t.Fatalf("%s: %s: %v", file, name, err)
		}
	}
}

// Validate says what of an object is not as its kind's schema says; a kind without one is an error.
func (all Schemas) Validate(t testing.TB, o Object) error {
	t.Helper()
	name := fmt.Sprintf("%v %v", o["apiVersion"], o["kind"])
	schema := all[name]
	if schema == nil {
		return fmt.Errorf("no schema of %s", name)
	}
	return schema.Validate(asJSON(t, o))
}

// Objects returns all objects of a file.
func Objects(t testing.TB, file string) []Object {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return Parse(t, file, content)
}

// Parse returns all objects of a file's content; file is its name in errors.
func Parse(t testing.TB, file string, content []byte) []Object {
	t.Helper()
	var all []Object
	for documents := yaml.NewDecoder(bytes.NewReader(content)); ; {
		var o Object
		err := documents.Decode(&o)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if o != nil {
			all = append(all, o)
		}
	}
}

// closed adds to a schema, and to those in it, that an object has no further fields, unless it says that it keeps them.
func closed(schema Object) {
	properties, named := schema["properties"].(Object)
	if named && schema["additionalProperties"] == nil && schema["x-kubernetes-preserve-unknown-fields"] != true {
		schema["additionalProperties"] = false
	}
	for _, p := range properties {
		if child, ok := p.(Object); ok {
			closed(child)
		}
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if child, ok := schema[key].(Object); ok {
			closed(child)
		}
	}
}

// asJSON turns what the YAML library read into what the JSON Schema library wants.
func asJSON(t testing.TB, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	j, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return j
}
