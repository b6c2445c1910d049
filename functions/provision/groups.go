package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"gopkg.in/yaml.v3"

	"millrace/knative"
	"millrace/shared/kafka"
	"millrace/triggers"
)

// externalTopic is the annotation with which a Broker of class Kafka stands on a topic of ours.
const externalTopic = "kafka.eventing.knative.dev/external.topic"

// object is what is read of a manifest.
type object struct {
	Kind     string
	Metadata struct {
		Name, Namespace string
		Annotations     map[string]string
	}
	Spec struct{ Broker string }
}

// groups returns the groups whose positions are to be there before the first event.
func (c *config) groups() ([]kafka.GroupTopic, error) {
	if !c.Triggers {
		return nil, nil
	}
	return triggerGroups(c.Namespace, map[string]string{"events.raw": c.TopicRaw, "events.enriched": c.TopicEnriched, "events.dead": c.TopicDead})
}

// triggerGroups returns the consumer group of each embedded Trigger, as Knative's Kafka Broker names it, and the topic of its Broker. namespace replaces the
// manifests' own where it is not empty, and topics gives the names that are used for those of the manifests.
func triggerGroups(namespace string, topics map[string]string) ([]kafka.GroupTopic, error) {
	ofBroker := map[string]string{}
	if err := objects(knative.Files, func(o object) {
		if o.Kind == "Broker" {
			name := o.Metadata.Annotations[externalTopic]
			if used := topics[name]; used != "" {
				name = used
			}
			ofBroker[o.Metadata.Name] = name
		}
	}); err != nil {
		return nil, err
	}
	var groups []kafka.GroupTopic
	var errs []error
	err := objects(triggers.Files, func(o object) {
		if o.Kind != "Trigger" {
			return
		}
		ns := o.Metadata.Namespace
		if namespace != "" {
			ns = namespace
		}
		topic := ofBroker[o.Spec.Broker]
		if topic == "" {
			errs = append(errs, fmt.Errorf("trigger %s: its broker %q has no annotation %s", o.Metadata.Name, o.Spec.Broker, externalTopic))
		}
		groups = append(groups, kafka.GroupTopic{Group: "knative-trigger-" + ns + "-" + o.Metadata.Name, Topic: topic})
	})
	slices.SortFunc(groups, func(a, b kafka.GroupTopic) int { return bytes.Compare([]byte(a.Group), []byte(b.Group)) })
	return groups, errors.Join(append(errs, err)...)
}

// objects calls f for each document of each file.
func objects(files fs.FS, f func(object)) error {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return fmt.Errorf("embedded manifests: %w", err)
	}
	for _, name := range names {
		b, err := fs.ReadFile(files, name)
		if err != nil {
			return fmt.Errorf("embedded manifests: %w", err)
		}
		for d := yaml.NewDecoder(bytes.NewReader(b)); ; {
			var o object
			if err := d.Decode(&o); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return fmt.Errorf("embedded manifest %s: %w", name, err)
			}
			f(o)
		}
	}
	return nil
}
