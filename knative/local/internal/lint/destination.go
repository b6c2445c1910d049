package lint

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"millrace/knative/local/internal/manifest"
)

// channelIngressHost is where Brokers of the channel-based class take events.
const channelIngressHost = "broker-ingress.knative-eventing.svc.cluster.local"

// destinationKeys are the fields of Knative's objects that hold a destination.
var destinationKeys = []string{"sink", "subscriber", "reply", "deadLetterSink"}

// refOf returns the object that a destination of o leads to, by its ref or by an address that says it; the zero ref where it cannot be told.
func (s *set) refOf(o *object, destination *yaml.Node) ref {
	if r := child(destination, "ref"); present(r) {
		to := ref{group: group(scalar(child(r, "apiVersion"))), kind: scalar(child(r, "kind")), namespace: scalar(child(r, "namespace")), name: scalar(child(r, "name"))}
		if to.group == "" {
			to.group = scalar(child(r, "group"))
		}
		if to.namespace == "" {
			to.namespace = o.namespace
		}
		return to
	}
	return s.refOfURL(scalar(child(destination, "uri")))
}

// serviceHost is the name that a Service has in a cluster.
var serviceHost = regexp.MustCompile(`^([a-z0-9-]+)\.([a-z0-9-]+)\.svc(\.[a-z0-9.-]+)?$`)

// refOfURL returns the object that an address in a cluster is of: a Broker, a JobSink, or a Service in a namespace of which there are objects here; the zero ref for any other.
func (s *set) refOfURL(address string) ref {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return ref{}
	}
	namespace, name, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	switch u.Hostname() {
	case manifest.IngressHost, channelIngressHost:
		return ref{eventing, "Broker", namespace, name}
	case manifest.JobSinkHost:
		return ref{sinks, "JobSink", namespace, name}
	}
	m := serviceHost.FindStringSubmatch(u.Hostname())
	if m == nil || !s.namespaces[m[2]] {
		return ref{}
	}
	return ref{serving, "Service", m[2], m[1]}
}

// destinations checks every destination below n: that its object is here, and that a Broker is read.
func (s *set) destinations(o *object, n *yaml.Node) {
	each(n, func(k, v *yaml.Node) {
		if slices.Contains(destinationKeys, k.Value) && (present(child(v, "ref")) || present(child(v, "uri"))) {
			at, exact := v, false
			if r := child(v, "ref"); present(r) {
				at, exact = r, true
			}
			s.receives(o, at, k.Value, s.refOf(o, v), exact)
		}
		s.destinations(o, v)
	})
	for _, item := range items(n) {
		s.destinations(o, item)
	}
}

// receives reports a destination of o that is not among the objects, or is a Broker that nothing reads. exact says that it is a ref, which says of which group a Service is; an address does not.
func (s *set) receives(o *object, at *yaml.Node, what string, to ref, exact bool) {
	if to == (ref{}) {
		return
	}
	target := s.byRef[to]
	if target == nil && to.is(serving, "Service") && !exact {
		target = s.byRef[ref{"", "Service", to.namespace, to.name}]
	}
	if target == nil && to.is("", "Service") && s.byRef[ref{serving, "Service", to.namespace, to.name}] != nil {
		s.found(NoReceiver, o, o, at, fmt.Sprintf("%s is a ref to the core Service %s/%s, and there is a Knative Service of this name", what, to.namespace, to.name),
			"apiVersion: serving.knative.dev/v1 in the ref")
		return
	}
	if target == nil {
		s.found(NoReceiver, o, o, at, fmt.Sprintf("%s: there is no %s", what, to), "the name of an object that is applied with it"+s.suggest(to))
		return
	}
	if target.is(eventing, "Broker") && !s.brokerRead(target) {
		s.found(NoReader, o, o, at, fmt.Sprintf("%s: %s has no Trigger, and nothing else reads its topic", what, to), "a Trigger with broker: "+to.name)
	}
}

// suggest names the objects of the kind that there are.
func (s *set) suggest(to ref) string {
	var names []string
	for _, o := range s.objects {
		if o.group == to.group && o.kind == to.kind {
			names = append(names, o.namespace+"/"+o.name)
		}
	}
	if len(names) == 0 {
		return "; here is no " + to.kind
	}
	slices.Sort(names)
	return "; here are " + strings.Join(slices.Compact(names), ", ")
}

// describe writes a destination as a person would copy it.
func describe(destination *yaml.Node) string {
	if r := child(destination, "ref"); present(r) {
		text := fmt.Sprintf("ref: {apiVersion: %s, kind: %s, name: %s", scalar(child(r, "apiVersion")), scalar(child(r, "kind")), scalar(child(r, "name")))
		if ns := scalar(child(r, "namespace")); ns != "" {
			text += ", namespace: " + ns
		}
		return text + "}"
	}
	return "uri: " + scalar(child(destination, "uri"))
}

// topicOf is the Kafka topic of a Broker; empty where its class is not known to have one.
func topicOf(b *object) string {
	if !kafkaClass(b) {
		return ""
	}
	if topic := b.annotation(manifest.AnnotationExternalTopic); topic != "" {
		return topic
	}
	return "knative-broker-" + b.namespace + "-" + b.name
}

// brokerRead reports whether a Broker has a Trigger, or something else reads its topic.
func (s *set) brokerRead(b *object) bool {
	for _, t := range s.objects {
		if t.is(eventing, "Trigger") && s.brokerOf(t) == b {
			return true
		}
	}
	topic := topicOf(b)
	return topic != "" && s.polled(topic)
}

// topicRead reports whether anything reads a topic: a Broker with a Trigger, or what polls it.
func (s *set) topicRead(topic string) bool {
	if s.polled(topic) {
		return true
	}
	for _, b := range s.objects {
		if b.is(eventing, "Broker") && topicOf(b) == topic && s.brokerRead(b) {
			return true
		}
	}
	return false
}

// polled reports whether a KafkaSource or a function's intake reads a topic, or a PingSource tells somebody to.
func (s *set) polled(topic string) bool {
	for _, o := range s.objects {
		switch {
		case o.is(sources, "KafkaSource"):
			for _, t := range items(o.at("spec", "topics")) {
				if scalar(t) == topic {
					return true
				}
			}
		case o.is(sources, "PingSource"):
			if strings.Contains(o.text("spec", "data"), `"`+topic+`"`) {
				return true
			}
		}
	}
	return slices.ContainsFunc(s.pods, func(p *pod) bool { return slices.Contains(p.intake(), topic) })
}
