package lint

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"millrace/knative/local/internal/manifest"
)

// delivered is the delivery that an object's events get.
type delivered struct {
	node *yaml.Node // nil where nothing is said
	in   *object    // that says it: the Trigger or its Broker
}

// trigger checks a Trigger.
func (s *set) trigger(t *object) {
	b := s.brokerOf(t)
	own, its := t.at("spec", "delivery"), (*yaml.Node)(nil)
	if b != nil {
		its = b.at("spec", "delivery")
	}
	d := delivered{own, t}
	if !present(own) && b != nil {
		d = delivered{its, b}
	}
	sink := child(d.node, "deadLetterSink")
	switch {
	case present(sink):
		s.deadLetterLoop(t, sink, d.in)
	case present(own) && present(child(its, "deadLetterSink")):
		s.found(DeadLetterDropped, t, t, key(t.at("spec"), "delivery"), fmt.Sprintf("delivery has no deadLetterSink, and so drops that of Broker %s", b.name),
			"spec.delivery.deadLetterSink, the Broker's again: "+describe(child(its, "deadLetterSink")))
	case b != nil || present(own):
		s.found(DeadLetterMissing, t, t, t.nearest("spec", "delivery"), "neither it nor its Broker has a deadLetterSink, as far as these manifests say",
			"spec.delivery.deadLetterSink with the ref of what keeps what is given up, and retry, backoffPolicy, backoffDelay, timeout beside it")
	}
	if present(own) && retryOf(own) == 0 && retryOf(its) > 0 {
		s.found(RetriesDropped, t, t, key(t.at("spec"), "delivery"), fmt.Sprintf("delivery has no retry, and so drops the %d of Broker %s", retryOf(its), b.name),
			fmt.Sprintf("spec.delivery.retry: %d, with backoffPolicy and backoffDelay", retryOf(its)))
	}
	if kafkaClass(b) {
		s.ignored(t, own, "class Kafka")
	}
	s.kafkaAnnotations(t, b, deliveryOrder)
	waits := retries{}
	if kafkaClass(b) {
		waits = kafkaRetries
	}
	s.outage(t, b, d, waits)
	s.timeout(t, d, t.at("spec", "subscriber"))
	s.mixed(t)
	if key, ok := s.brokerKey(t); ok {
		s.replyLoops(t, key)
		if b == nil && s.namespaces[key.namespace] {
			s.found(NoReceiver, t, t, t.at("spec", "broker"), "there is no "+key.String(), "the name of a Broker in the Trigger's namespace"+s.suggest(key))
		}
	}
}

// broker checks a Broker.
func (s *set) broker(b *object) {
	if kafkaClass(b) {
		s.ignored(b, b.at("spec", "delivery"), "class Kafka")
	}
	s.kafkaAnnotations(b, b, "external.topic")
}

// kafkaPrefix begins the annotations of Knative's Kafka components.
const kafkaPrefix = "kafka.eventing.knative.dev/"

// kafkaAnnotations reports annotations for class Kafka that it does not read from o, which knows one, or that are for another class than that of b.
func (s *set) kafkaAnnotations(o, b *object, knows string) {
	class := ""
	if b != nil {
		class = b.annotation(manifest.AnnotationBrokerClass)
	}
	each(o.at("metadata", "annotations"), func(k, v *yaml.Node) {
		name, its := strings.CutPrefix(k.Value, kafkaPrefix)
		switch {
		case !its:
		case name != knows:
			s.found(IgnoredField, o, o, k, fmt.Sprintf("annotation %s is none that class Kafka reads from a %s", k.Value, o.kind), kafkaPrefix+knows+", the only one there is, or remove it")
		case class != "" && !kafkaClass(b):
			s.found(IgnoredField, o, o, k, fmt.Sprintf("annotation %s is for class Kafka, and the class of Broker %s is %s", k.Value, b.name, class), manifest.AnnotationBrokerClass+": Kafka at the Broker, or remove it")
		case name == deliveryOrder && scalar(v) != "ordered" && scalar(v) != "unordered":
			s.found(IgnoredField, o, o, k, fmt.Sprintf("%s is neither ordered nor unordered, but %q", k.Value, scalar(v)), kafkaPrefix+deliveryOrder+": ordered, or unordered, which is the default")
		}
	})
}

// deliveryOrder is the annotation of a Trigger of class Kafka.
const deliveryOrder = "delivery.order"

// ignored reports what the Kafka implementations of Broker and source do not know in a delivery.
func (s *set) ignored(o *object, delivery *yaml.Node, who string) {
	instead := map[string]string{
		"retryAfterMax": "remove it; Retry-After is ignored, and the subscriber is asked again after backoffDelay whatever it says",
		"format":        "remove it; events are sent in binary mode",
	}
	each(delivery, func(k, v *yaml.Node) {
		if write, ok := instead[k.Value]; ok && present(v) {
			s.found(IgnoredField, o, o, k, fmt.Sprintf("%s does not know delivery.%s", who, k.Value), write)
		}
	})
}

// kafkaClass reports whether a Broker is of class Kafka, whose data plane may be one for each namespace.
func kafkaClass(b *object) bool {
	return b != nil && slices.Contains([]string{"Kafka", "KafkaNamespaced"}, b.annotation(manifest.AnnotationBrokerClass))
}

// brokerKey is the Broker that a Trigger names.
func (s *set) brokerKey(t *object) (ref, bool) {
	key := ref{group: eventing, kind: "Broker", namespace: t.namespace, name: t.text("spec", "broker")}
	return key, key.name != ""
}

func (s *set) brokerOf(t *object) *object {
	key, _ := s.brokerKey(t)
	return s.byRef[key]
}

func retryOf(delivery *yaml.Node) int {
	n, err := strconv.Atoi(scalar(child(delivery, "retry")))
	if err != nil {
		return 0 // what is no number is refused by the API server
	}
	return n
}

// retries are the waits of a delivery.
type retries struct {
	count  int
	policy string
	delay  time.Duration
	// first is the n of the first wait: 1 of class Kafka and KafkaSource, 0 of the channel-based class.
	first int
}

// kafkaRetries are those of class Kafka where a delivery does not say.
var kafkaRetries = retries{policy: manifest.BackoffExponential, delay: time.Second, first: 1}

// read sets what a delivery says.
func (r *retries) read(delivery *yaml.Node) {
	if n := child(delivery, "retry"); present(n) {
		r.count = retryOf(delivery)
	}
	if p := scalar(child(delivery, "backoffPolicy")); p != "" {
		r.policy = p
	}
	if d, err := manifest.ParseDuration(scalar(child(delivery, "backoffDelay"))); err == nil {
		r.delay = d
	}
	if r.policy == "" {
		r.delay = 0 // the channel-based class waits only where both are said
	}
}

// sum is all waits together.
func (r retries) sum() time.Duration {
	n := float64(r.count)
	if r.policy == manifest.BackoffLinear {
		return r.times(n * (n + 2*float64(r.first) - 1) / 2)
	}
	return r.times(math.Exp2(float64(r.first)) * (math.Exp2(n) - 1))
}

// longest is the last wait.
func (r retries) longest() time.Duration {
	n := float64(r.first + r.count - 1)
	if r.policy == manifest.BackoffLinear {
		return r.times(n)
	}
	return r.times(math.Exp2(n))
}

func (r retries) times(factor float64) time.Duration {
	if total := float64(r.delay) * factor; total < math.MaxInt64 {
		return time.Duration(total)
	}
	return math.MaxInt64
}

// String returns the retries as a person counts them.
func (r retries) String() string {
	if r.count == 0 {
		return "it has no retry"
	}
	if r.delay == 0 {
		return fmt.Sprintf("%d retries follow at once, since backoffPolicy and backoffDelay are not both said", r.count)
	}
	return fmt.Sprintf("%d retries, %s from %s, end after %s", r.count, r.policy, r.delay, r.sum().Round(time.Second))
}

// lasting returns as many retries as outlast an outage, of a policy.
func (r retries) lasting(outage time.Duration, policy string) retries {
	if r.policy, r.count = policy, 0; r.delay <= 0 {
		r.delay = time.Second
	}
	for r.sum() < outage && r.count < maxRetries {
		r.count++
	}
	return r
}

// maxRetries bounds the search for how many retries outlast an outage.
const maxRetries = 100_000

// outage reports retries that end before the outage that is stated for o: by the option, or else on itself, its Broker or its namespace.
func (s *set) outage(o, b *object, d delivered, r retries) {
	stated, by := s.options.Outage, "-outage"
	if stated == 0 {
		for _, from := range []*object{o, b, s.byRef[ref{kind: "Namespace", namespace: o.namespace, name: o.namespace}]} {
			if from == nil || from.annotation(annotationOutage) == "" {
				continue
			}
			if parsed, err := manifest.ParseDuration(from.annotation(annotationOutage)); err == nil {
				stated, by = parsed, from.String()
			}
			break
		}
	}
	if r.read(d.node); stated == 0 || r.sum() >= stated {
		return
	}
	linear := r.lasting(stated, manifest.BackoffLinear)
	write := fmt.Sprintf("retry: %d, backoffPolicy: linear, backoffDelay: PT%sS, whose waits grow to %s", linear.count, strconv.FormatFloat(linear.delay.Seconds(), 'f', -1, 64), linear.longest().Round(time.Second))
	if r.policy == manifest.BackoffExponential {
		more := r.lasting(stated, r.policy)
		write += fmt.Sprintf("; or retry: %d with the backoff there is, whose waits grow to %s", more.count, more.longest().Round(time.Second))
	}
	at := key(d.node, "retry")
	if at == nil {
		at, d.in = o.nearest("spec"), o
	}
	s.found(OutageLonger, o, d.in, at, fmt.Sprintf("%s; %s states an outage of %s", r, by, stated), write)
}

// timeout reports a delivery that waits longer than the Service that it asks.
func (s *set) timeout(o *object, d delivered, destination *yaml.Node) {
	n := child(d.node, "timeout")
	wait, err := manifest.ParseDuration(scalar(n))
	target := s.byRef[s.refOf(o, destination)]
	if err != nil || target == nil || !target.is(serving, "Service") {
		return
	}
	limit, said := 300, "by default"
	if at := target.at("spec", "template", "spec", "timeoutSeconds"); present(at) {
		if limit, err = strconv.Atoi(scalar(at)); err != nil {
			return
		}
		said = "by its timeoutSeconds"
	}
	if wait > time.Duration(limit)*time.Second {
		s.found(TimeoutAboveService, o, d.in, n, fmt.Sprintf("delivery.timeout is %s, and %s ends every request after %ds, %s", scalar(n), target, limit, said),
			fmt.Sprintf("delivery.timeout: PT%dS at most, or timeoutSeconds: %d in %s (at most 600)", limit, int(math.Ceil(wait.Seconds())), target))
	}
}

// kafkaSource checks a KafkaSource.
func (s *set) kafkaSource(k *object) {
	spec := k.nearest("spec")
	if k.text("spec", "consumerGroup") == "" {
		s.found(SourceWithoutGroup, k, k, spec, "it has no consumerGroup", "spec.consumerGroup: a name of its own, such as "+k.namespace+"-"+k.name)
	}
	delivery := k.at("spec", "delivery")
	switch {
	case !present(delivery):
		s.found(SourceWithoutDelivery, k, k, spec, "it has no delivery", "spec.delivery with retry, backoffPolicy, backoffDelay, timeout and a deadLetterSink")
	case !present(child(delivery, "deadLetterSink")):
		s.found(SourceWithoutDelivery, k, k, key(k.at("spec"), "delivery"), "its delivery has no deadLetterSink: what it gives up is dropped", "spec.delivery.deadLetterSink with the ref of what keeps it")
	}
	if k.text("spec", "ordering") == "" {
		s.found(SourceWithoutOrdering, k, k, spec, "it does not say its ordering", "spec.ordering: unordered for throughput; ordered where the order within a partition is worth it")
	}
	s.ignored(k, delivery, "KafkaSource")
	s.outage(k, nil, delivered{delivery, k}, retries{count: 10, policy: manifest.BackoffExponential, delay: 300 * time.Millisecond, first: 1})
	s.timeout(k, delivered{delivery, k}, k.at("spec", "sink"))
}
