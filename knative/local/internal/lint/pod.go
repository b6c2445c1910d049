package lint

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// pod is an object that runs a function, with the variables of its first container.
type pod struct {
	*object
	env   map[string]string
	nodes map[string]*yaml.Node // where a variable stands in this object
}

// templates is where the kinds have their pods.
var templates = map[string][]string{
	serving + " Service": {"spec", "template", "spec"},
	"apps Deployment":    {"spec", "template", "spec"},
	"apps StatefulSet":   {"spec", "template", "spec"},
	"batch Job":          {"spec", "template", "spec"},
	"batch CronJob":      {"spec", "jobTemplate", "spec", "template", "spec"},
	sinks + " JobSink":   {"spec", "job", "spec", "template", "spec"},
}

// pod returns the pod of o, nil where o has none.
func (s *set) pod(o *object) *pod {
	path, ok := templates[o.group+" "+o.kind]
	if !ok {
		return nil
	}
	p := &pod{object: o, env: map[string]string{}, nodes: map[string]*yaml.Node{}}
	containers := items(o.at(append(slices.Clone(path), "containers")...))
	if len(containers) == 0 {
		return p
	}
	for _, from := range items(child(containers[0], "envFrom")) {
		config := s.byRef[ref{kind: "ConfigMap", namespace: o.namespace, name: scalar(child(from, "configMapRef", "name"))}]
		if config == nil {
			continue
		}
		each(config.at("data"), func(k, v *yaml.Node) { p.env[scalar(child(from, "prefix"))+k.Value] = scalar(v) })
	}
	for _, v := range items(child(containers[0], "env")) {
		name, value := scalar(child(v, "name")), child(v, "value")
		if present(value) {
			p.env[name], p.nodes[name] = p.expand(scalar(value)), value
		}
	}
	return p
}

// reference is a variable in the value of another, or an escaped one.
var reference = regexp.MustCompile(`\$?\$\(([-._a-zA-Z0-9]+)\)`)

// expand replaces $(NAME) by a variable before it, as Kubernetes does; what is not known stays.
func (p *pod) expand(text string) string {
	return reference.ReplaceAllStringFunc(text, func(found string) string {
		value, ok := p.env[strings.Trim(found, "$()")]
		if !ok || strings.HasPrefix(found, "$$") {
			return found
		}
		return value
	})
}

// topics returns the topics of a Kafka URL; none where it is another URL, or not known.
func topics(address string) []string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "kafka" || strings.Contains(address, "$(") {
		return nil
	}
	var all []string
	for _, topic := range strings.Split(strings.Trim(u.Path, "/"), ",") {
		if topic != "" {
			all = append(all, topic)
		}
	}
	return all
}

// intake returns the topics that the function reads by itself.
func (p *pod) intake() []string { return topics(p.env["INTAKE"]) }

// asleep reports a function that takes its events from Kafka and may have no pod that nothing wakes.
func (s *set) asleep(p *pod) {
	if !strings.HasPrefix(p.env["INTAKE"], "kafka:") {
		return
	}
	at := p.nodes["INTAKE"]
	switch {
	case p.is(serving, "Service"):
		annotations := p.at("spec", "template", "metadata", "annotations")
		least := scalar(child(annotations, "autoscaling.knative.dev/min-scale"))
		if least == "" {
			least = scalar(child(annotations, "autoscaling.knative.dev/minScale"))
		}
		if least != "" && least != "0" {
			return
		}
		s.found(AsleepForGood, p.object, p.object, at, "INTAKE reads Kafka, and min-scale is 0",
			`autoscaling.knative.dev/min-scale: "1" in spec.template.metadata.annotations; or a Deployment with a ScaledObject of KEDA, as in knative/direct, where it may sleep`)
	case p.is("apps", "Deployment"), p.is("apps", "StatefulSet"):
		if p.text("spec", "replicas") != "0" || s.scaled(p.ref) {
			return
		}
		s.found(AsleepForGood, p.object, p.object, p.at("spec", "replicas"), "INTAKE reads Kafka, replicas is 0, and no ScaledObject has it as its target",
			"no replicas, which is one, or a ScaledObject of KEDA with a trigger of type kafka")
	}
}

func (s *set) scaled(target ref) bool {
	return slices.ContainsFunc(s.objects, func(o *object) bool { return o.is(keda, "ScaledObject") && scaleTarget(o) == target })
}

// scaleTarget is what a ScaledObject scales: a Deployment where it does not say.
func scaleTarget(o *object) ref {
	to := ref{group: "apps", kind: "Deployment", namespace: o.namespace, name: o.text("spec", "scaleTargetRef", "name")}
	if kind := o.text("spec", "scaleTargetRef", "kind"); kind != "" {
		to.kind = kind
	}
	if version := o.text("spec", "scaleTargetRef", "apiVersion"); version != "" {
		to.group = group(version)
	}
	return to
}

// scaledObject checks the target of a ScaledObject.
func (s *set) scaledObject(o *object) {
	to := scaleTarget(o)
	at := o.nearest("spec", "scaleTargetRef", "name")
	switch target := s.byRef[to]; {
	case to.is(serving, "Service"):
		s.found(ScalerOfNothing, o, o, at, fmt.Sprintf("its target is the Knative %s, which has no subresource scale", to), "a Deployment as target, as in knative/direct")
	case target == nil:
		s.found(ScalerOfNothing, o, o, at, "there is no "+to.String(), "the name of an object that is applied with it"+s.suggest(to))
	default:
		for _, p := range s.pods {
			if p.object == target {
				s.watches(o, p)
			}
		}
	}
}

// watches reports topics of a function's intake whose lag its scaler does not watch.
func (s *set) watches(o *object, p *pod) {
	u, err := url.Parse(p.env["INTAKE"])
	if err != nil || len(p.intake()) == 0 {
		return
	}
	intake := u.Query().Get("group")
	watched := map[string]bool{}
	for _, trigger := range items(o.at("spec", "triggers")) {
		// A setting is said, or is the name of a variable of the target that says it.
		setting := func(name string) string {
			if value := scalar(child(trigger, "metadata", name)); value != "" {
				return value
			}
			return p.env[scalar(child(trigger, "metadata", name+"FromEnv"))]
		}
		if scalar(child(trigger, "type")) != "kafka" {
			return // another scaler may see it
		}
		if group := scalar(child(trigger, "metadata", "consumerGroup")); group == intake {
			watched[setting("topic")] = true
		}
	}
	for _, topic := range p.intake() {
		if !watched[topic] && !watched[""] { // without a topic KEDA watches all of the group
			s.found(ScalerElsewhere, o, o, o.nearest("spec", "triggers"), fmt.Sprintf("no trigger watches topic %s by group %s, which INTAKE of %s reads", topic, intake, p.ref),
				fmt.Sprintf("a trigger of type kafka with consumerGroup: %s and topic: %s (or topicFromEnv)", intake, topic))
		}
	}
}

func (r ref) is(group, kind string) bool { return r.group == group && r.kind == kind }

// sinks checks where a function sends to: topics that somebody reads, objects that are there.
func (s *set) sinks(p *pod) {
	for _, name := range []string{"SINK", "DEAD_SINK"} {
		at := p.nodes[name]
		if at == nil {
			continue
		}
		for _, topic := range topics(p.env[name]) {
			if !s.topicRead(topic) {
				s.found(NoReader, p.object, p.object, at, fmt.Sprintf("%s is the topic %s, of which there is no Broker with a Trigger, no KafkaSource and no intake", name, topic),
					"the topic that is read, or a Trigger, a KafkaSource or an INTAKE that reads this one")
			}
		}
	}
	for name, at := range p.nodes {
		s.receives(p.object, at, name, s.refOfURL(p.env[name]), false)
	}
}
