package lint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"
)

// object is one object of a manifest as it is written. Fields that a rule does not ask for are not looked at.
type object struct {
	file string // as shown
	node *yaml.Node
	ref
}

// ref names an object. group is its apiVersion without the version, empty for the core's.
type ref struct{ group, kind, namespace, name string }

// String returns the object as a person names it.
func (r ref) String() string { return r.kind + " " + r.namespace + "/" + r.name }

// Groups and kinds that rules ask for.
const (
	eventing = "eventing.knative.dev"
	serving  = "serving.knative.dev"
	sources  = "sources.knative.dev"
	sinks    = "sinks.knative.dev"
	keda     = "keda.sh"
)

func (o *object) is(group, kind string) bool { return o.group == group && o.kind == kind }

// at returns the node at a path of keys, nil where there is none.
func (o *object) at(keys ...string) *yaml.Node { return child(o.node, keys...) }

// text returns the scalar at a path of keys, empty where there is none.
func (o *object) text(keys ...string) string { return scalar(o.at(keys...)) }

// nearest returns the node at a path of keys, or else the nearest one above it.
func (o *object) nearest(keys ...string) *yaml.Node {
	for ; len(keys) > 0; keys = keys[:len(keys)-1] {
		if n := o.at(keys...); n != nil {
			return n
		}
	}
	return o.node
}

// annotation returns the object's annotation.
func (o *object) annotation(key string) string { return o.text("metadata", "annotations", key) }

func scalar(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return ""
	}
	return n.Value
}

// present reports whether a value is there and is not null.
func present(n *yaml.Node) bool { return n != nil && n.Tag != "!!null" }

// follow resolves aliases.
func follow(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func child(n *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		var found *yaml.Node
		each(n, func(k, v *yaml.Node) {
			if k.Value == key {
				found = v
			}
		})
		n = found
	}
	return n
}

// key returns the node of a mapping's key, whose line a person looks for, or n itself.
func key(n *yaml.Node, name string) *yaml.Node {
	at := n
	each(n, func(k, _ *yaml.Node) {
		if k.Value == name {
			at = k
		}
	})
	return at
}

// each calls f for the entries of a mapping; for anything else, nothing.
func each(n *yaml.Node, f func(key, value *yaml.Node)) {
	n = follow(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		f(n.Content[i], follow(n.Content[i+1]))
	}
}

// items returns the items of a list; of anything else, none.
func items(n *yaml.Node) []*yaml.Node {
	n = follow(n)
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	all := make([]*yaml.Node, len(n.Content))
	for i, item := range n.Content {
		all[i] = follow(item)
	}
	return all
}

// load reads the files of paths: of a directory those directly in it, as kubectl apply does, and of "-" what in has. root is what files are shown relative to.
func load(root string, in io.Reader, paths []string) ([]*object, error) {
	var all []*object
	var errs []error
	seen := map[string]bool{}
	for _, path := range paths {
		if path == "-" {
			content, err := io.ReadAll(in)
			if err != nil {
				return nil, fmt.Errorf("read standard input: %w", err)
			}
			objects, err := parse("-", content)
			all, errs = append(all, objects...), append(errs, err)
			continue
		}
		files, err := list(path)
		errs = append(errs, err)
		for _, file := range files {
			// A link's target is what is to be changed, and is one file wherever it is linked.
			target, err := filepath.EvalSymlinks(file)
			if err != nil {
				errs = append(errs, fmt.Errorf("read manifest: %w", err))
				continue
			}
			if seen[target] {
				continue
			}
			seen[target] = true
			content, err := os.ReadFile(target)
			if err != nil {
				errs = append(errs, fmt.Errorf("read manifest: %w", err))
				continue
			}
			objects, err := parse(shown(root, target), content)
			all, errs = append(all, objects...), append(errs, err)
		}
	}
	return all, errors.Join(errs...)
}

// shown returns a file's name relative to root where that is shorter to read.
func shown(root, file string) string {
	abs, err := filepath.Abs(file)
	if err != nil {
		return file
	}
	rel, err := filepath.Rel(root, abs)
	if err != nil || strings.HasPrefix(rel, "..") {
		return file
	}
	return filepath.ToSlash(rel)
}

func list(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read manifests: %w", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	if kustomized(path) {
		return nil, fmt.Errorf("%s is a kustomization, which is not rendered here: kubectl kustomize --load-restrictor LoadRestrictionsNone %s | go run ./knative/local lint -", path, path)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("read manifests: %w", err)
	}
	var files []string
	for _, entry := range entries {
		if ext := filepath.Ext(entry.Name()); !entry.IsDir() && (ext == ".yaml" || ext == ".yml") {
			files = append(files, filepath.Join(path, entry.Name()))
		}
	}
	return files, nil
}

func kustomized(dir string) bool {
	for _, name := range []string{"kustomization.yaml", "kustomization.yml", "Kustomization"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// parse returns the objects of one file, those of a List among them.
func parse(file string, content []byte) ([]*object, error) {
	var all []*object
	for documents := yaml.NewDecoder(bytes.NewReader(content)); ; {
		var document yaml.Node
		err := documents.Decode(&document)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, fmt.Errorf("%s is not YAML: %w", file, err)
		}
		// An anchor that contains itself would have no end, and many in each other nearly none: this knows both.
		var whole any
		if err := document.Decode(&whole); err != nil {
			return all, fmt.Errorf("%s cannot be read: %w", file, err)
		}
		n := follow(document.Content[0])
		if !present(n) {
			continue
		}
		parts := []*yaml.Node{n}
		if scalar(child(n, "kind")) == "List" {
			parts = items(child(n, "items"))
		}
		for _, n := range parts {
			o := newObject(file, n)
			if o == nil {
				return all, fmt.Errorf("%s:%d: no manifest: kind and apiVersion are missing", file, n.Line)
			}
			all = append(all, o)
		}
	}
}

func newObject(file string, n *yaml.Node) *object {
	o := &object{file: file, node: n}
	version := o.text("apiVersion")
	if o.kind = o.text("kind"); o.kind == "" || version == "" {
		return nil
	}
	o.group = group(version)
	o.name, o.namespace = o.text("metadata", "name"), o.text("metadata", "namespace")
	if o.name == "" {
		o.name = strings.TrimRight(o.text("metadata", "generateName"), "-")
	}
	switch {
	case o.is("", "Namespace"):
		o.namespace = o.name
	case o.namespace == "":
		o.namespace = "default"
	}
	return o
}

func group(apiVersion string) string {
	g, _, ok := strings.Cut(apiVersion, "/")
	if !ok {
		return ""
	}
	return g
}
