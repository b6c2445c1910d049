package manifest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Set holds the objects of a number of files by namespace and name. It is not safe for concurrent use while it is changed.
type Set struct {
	Namespaces      map[Key]*Namespace
	ConfigMaps      map[Key]*ConfigMap
	Secrets         map[Key]*Secret
	ServiceAccounts map[Key]*ServiceAccount
	Services        map[Key]*Service
	Deployments     map[Key]*Deployment
	Brokers         map[Key]*Broker
	Triggers        map[Key]*Trigger
	PingSources     map[Key]*PingSource
	Jobs            map[Key]*Job
	CronJobs        map[Key]*CronJob
	JobSinks        map[Key]*JobSink
}

// NewSet returns a Set without objects.
func NewSet() *Set {
	return &Set{
		Namespaces: map[Key]*Namespace{}, ConfigMaps: map[Key]*ConfigMap{}, Secrets: map[Key]*Secret{},
		ServiceAccounts: map[Key]*ServiceAccount{}, Services: map[Key]*Service{}, Deployments: map[Key]*Deployment{}, Brokers: map[Key]*Broker{},
		Triggers: map[Key]*Trigger{}, PingSources: map[Key]*PingSource{}, Jobs: map[Key]*Job{}, CronJobs: map[Key]*CronJob{}, JobSinks: map[Key]*JobSink{},
	}
}

// Sorted returns the objects of one of a Set's maps in the order of namespace and name.
func Sorted[T any](objects map[Key]T) []T {
	keys := slices.SortedFunc(maps.Keys(objects), func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	sorted := make([]T, len(keys))
	for i, key := range keys {
		sorted[i] = objects[key]
	}
	return sorted
}

// kind is one pair of apiVersion and kind that is run here.
type kind struct {
	apiVersion, name string
	add              func(s *Set, d *decoder, n *yaml.Node)
}

func (k kind) String() string { return k.name + " (" + k.apiVersion + ")" }

var kinds = []kind{
	{"v1", "Namespace", func(s *Set, d *decoder, n *yaml.Node) { add(d, n, s.Namespaces, nil) }},
	{"v1", "ConfigMap", func(s *Set, d *decoder, n *yaml.Node) { add(d, n, s.ConfigMaps, nil) }},
	{"v1", "Secret", func(s *Set, d *decoder, n *yaml.Node) { add(d, n, s.Secrets, finishSecret) }},
	{"v1", "ServiceAccount", func(s *Set, d *decoder, n *yaml.Node) { add(d, n, s.ServiceAccounts, nil) }},
	{"serving.knative.dev/v1", "Service", func(s *Set, d *decoder, n *yaml.Node) { add(d, n, s.Services, finishService) }},
	{"apps/v1", "Deployment", func(s *Set, d *decoder, n *yaml.Node) { add(d, n, s.Deployments, finishDeployment) }},
	{"eventing.knative.dev/v1", "Broker", func(s *Set, d *decoder, n *yaml.Node) { add(d, n, s.Brokers, finishBroker) }},
	{"eventing.knative.dev/v1", "Trigger", func(s *Set, d *decoder, n *yaml.Node) { add(d, n, s.Triggers, finishTrigger) }},
	{"sources.knative.dev/v1", "PingSource", func(s *Set, d *decoder, n *yaml.Node) { add(d, n, s.PingSources, finishPingSource) }},
	{"batch/v1", "Job", func(s *Set, d *decoder, n *yaml.Node) { add(d, n, s.Jobs, finishJob) }},
	{"batch/v1", "CronJob", func(s *Set, d *decoder, n *yaml.Node) { add(d, n, s.CronJobs, finishCronJob) }},
	{"sinks.knative.dev/v1alpha1", "JobSink", func(s *Set, d *decoder, n *yaml.Node) { add(d, n, s.JobSinks, finishJobSink) }},
}

// Load reads files, and of directories the *.yaml and *.yml files directly in them, as kubectl apply does. What it returns is
// complete or an error that joins every finding; references are not checked.
func Load(paths ...string) (*Set, error) {
	s := NewSet()
	return s, s.Load(paths...)
}

// Load adds the objects of further files. An object that the Set already has is an error.
func (s *Set) Load(paths ...string) error {
	var errs []error
	for _, path := range paths {
		files, err := list(path)
		if err != nil {
			errs = append(errs, err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				errs = append(errs, fmt.Errorf("read manifest: %w", err))
				continue
			}
			if err := s.Parse(file, content); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

func list(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read manifests: %w", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
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

// syntaxLine finds the line in yaml.v3's errors, which have no other form.
var syntaxLine = regexp.MustCompile(`^yaml: line (\d+): (.*)$`)

// Parse adds the objects of one file's content; file is its name in errors.
func (s *Set) Parse(file string, content []byte) error {
	d := &decoder{file: file}
	documents := yaml.NewDecoder(bytes.NewReader(content))
	for {
		var document yaml.Node
		err := documents.Decode(&document)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			at := &yaml.Node{Line: 1}
			message := strings.TrimPrefix(err.Error(), "yaml: ")
			if m := syntaxLine.FindStringSubmatch(err.Error()); m != nil {
				at.Line, _ = strconv.Atoi(m[1])
				message = m[2]
			}
			d.errorf(at, "not YAML: %s", message)
			break
		}
		s.document(d, document.Content[0])
	}
	return errors.Join(d.errs...)
}

func (s *Set) document(d *decoder, n *yaml.Node) {
	if n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.errorf(n, "a manifest must be a mapping with apiVersion and kind, not %s", describe(n))
		return
	}
	kindNode, versionNode := child(n, "kind"), child(n, "apiVersion")
	if kindNode == nil || versionNode == nil {
		d.errorf(n, "apiVersion and kind are missing")
		return
	}
	var names, versions []string
	for _, k := range kinds {
		if k.name == kindNode.Value && k.apiVersion == versionNode.Value {
			k.add(s, d, n)
			return
		}
		names = append(names, k.String())
		if k.name == kindNode.Value {
			versions = append(versions, k.apiVersion)
		}
	}
	if len(versions) > 0 {
		d.errorf(versionNode, "%s of apiVersion %q does not run here; its apiVersion is %q", kindNode.Value, versionNode.Value, versions[0])
		return
	}
	d.errorf(kindNode, "kind %q (%s) does not run here%s", kindNode.Value, versionNode.Value, suggest(kindNode.Value+" ("+versionNode.Value+")", names))
}

// object is a pointer to one of the kinds.
type object[T any] interface {
	*T
	object() *Object
}

func (o *Object) object() *Object { return o }

// add decodes n, lets finish check what one object alone can tell, and puts it into objects.
func add[T any, P object[T]](d *decoder, n *yaml.Node, objects map[Key]*T, finish func(*decoder, *yaml.Node, P)) {
	before := len(d.errs)
	item := P(new(T))
	o := item.object()
	path := child(n, "kind").Value
	d.decode(n, reflect.ValueOf(item).Elem(), path)
	if generated := strings.TrimRight(o.Metadata.GenerateName, "-"); o.Metadata.Name == "" && path == "Job" {
		o.Metadata.Name = generated
	} else if o.Metadata.GenerateName != "" {
		d.errorf(n, "generateName is for a Job without a name; write name")
	}
	if o.Metadata.Namespace == "" && path != "Namespace" {
		o.Metadata.Namespace = "default"
	}
	if !validName(o.Metadata.Name) {
		at := cmp.Or(child(n, "metadata", "name"), child(n, "metadata"), n)
		d.errorf(at, "%s.metadata.name %q must be lower-case letters, digits and hyphens, at most 63", path, o.Metadata.Name)
	}
	if len(d.errs) == before && finish != nil {
		finish(d, n, item)
	}
	if len(d.errs) > before {
		return
	}
	if other, ok := objects[o.Key()]; ok {
		d.errorf(n, "%s %s is there already, at %s", path, o.Key(), P(other).object().Pos)
		return
	}
	objects[o.Key()] = (*T)(item)
}

var namePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$`)

func validName(name string) bool { return namePattern.MatchString(name) }

// child returns the node at a path of keys below n, or nil.
func child(n *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		if n == nil {
			return nil
		}
		for n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		if n.Kind != yaml.MappingNode {
			return nil
		}
		var found *yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				found = n.Content[i+1]
			}
		}
		n = found
	}
	return n
}

// at returns the node at a path of keys below n, or else the nearest one above it, for errors.
func at(n *yaml.Node, keys ...string) *yaml.Node {
	for ; len(keys) > 0; keys = keys[:len(keys)-1] {
		if found := child(n, keys...); found != nil {
			return found
		}
	}
	return n
}
