package manifest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

func finishSecret(_ *decoder, _ *yaml.Node, s *Secret) {
	s.Data = map[string]string{}
	for key, value := range s.Encoded {
		s.Data[key] = string(value)
	}
	for key, value := range s.StringData {
		s.Data[key] = string(value)
	}
}

func finishService(d *decoder, n *yaml.Node, s *Service) {
	spec := &s.Spec.Template.Spec
	pod := child(n, "spec", "template", "spec")
	if v := s.Metadata.Labels[LabelVisibility]; v != "" && v != VisibilityClusterLocal {
		d.errorf(at(n, "metadata", "labels", LabelVisibility), "label %s must be %q, not %q", LabelVisibility, VisibilityClusterLocal, v)
	}
	if spec.ContainerConcurrency < 0 || spec.ContainerConcurrency > 1000 {
		d.errorf(at(pod, "containerConcurrency"), "containerConcurrency must be from 0 to 1000")
	}
	if t := spec.TimeoutSeconds; t != nil && (*t < 1 || *t > 600) {
		d.errorf(at(pod, "timeoutSeconds"), "timeoutSeconds must be from 1 to 600, Knative's limit")
	}
	annotations := s.Spec.Template.Metadata.Annotations
	s.Scaling = parseScaling(d, annotations, func(key string) *yaml.Node { return at(n, "spec", "template", "metadata", "annotations", key) })
	for key := range s.Metadata.Annotations {
		if strings.HasPrefix(key, autoscalingPrefix) {
			d.errorf(at(n, "metadata", "annotations", key), "annotation %s has its effect under spec.template.metadata only", key)
		}
	}
	checkPod(d, at(n, "spec", "template"), spec.Containers, spec.Volumes)
}

func finishJob(d *decoder, n *yaml.Node, j *Job) { checkJob(d, n, &j.Spec) }

func checkJob(d *decoder, n *yaml.Node, spec *JobSpec) {
	pod := spec.Template.Spec
	if p := pod.RestartPolicy; p != "Never" && p != "OnFailure" {
		d.errorf(at(n, "spec", "template", "spec", "restartPolicy"), "a Job's restartPolicy must be Never or OnFailure, not %q", p)
	}
	if b := spec.BackoffLimit; b != nil && *b < 0 {
		d.errorf(at(n, "spec", "backoffLimit"), "backoffLimit must not be negative")
	}
	if a := spec.ActiveDeadlineSeconds; a != nil && *a < 1 {
		d.errorf(at(n, "spec", "activeDeadlineSeconds"), "activeDeadlineSeconds must be above 0")
	}
	checkPod(d, at(n, "spec", "template"), pod.Containers, pod.Volumes)
}

// longestCronJob is how long a CronJob's name may be: a cluster appends eleven characters to it for each Job.
const longestCronJob = 52

func finishCronJob(d *decoder, n *yaml.Node, c *CronJob) {
	spec := child(n, "spec")
	if len(c.Metadata.Name) > longestCronJob {
		d.errorf(at(n, "metadata", "name"), "a CronJob's name has at most %d characters", longestCronJob)
	}
	if err := CheckSchedule(c.Spec.Schedule); err != nil {
		d.errorf(at(n, "spec", "schedule"), "schedule: %v", err)
	}
	if c.Spec.TimeZone != "" {
		if _, err := time.LoadLocation(c.Spec.TimeZone); err != nil {
			d.errorf(at(n, "spec", "timeZone"), "timeZone: %v", err)
		}
	}
	if p := c.Spec.ConcurrencyPolicy; p != ForbidConcurrent {
		d.errorf(at(n, "spec", "concurrencyPolicy"), "concurrencyPolicy must be %s to run here, not %q", ForbidConcurrent, p)
	}
	checkJob(d, at(spec, "jobTemplate"), &c.Spec.JobTemplate.Spec)
}

func finishJobSink(d *decoder, n *yaml.Node, s *JobSink) {
	checkJob(d, at(child(n, "spec"), "job"), &s.Spec.Job.Spec)
}

func finishDeployment(d *decoder, n *yaml.Node, v *Deployment) {
	if r := v.Spec.Replicas; r != nil && *r < 0 {
		d.errorf(at(n, "spec", "replicas"), "replicas must not be negative")
	}
	if p := v.Spec.Template.Spec.RestartPolicy; p != "" && p != "Always" {
		d.errorf(at(n, "spec", "template", "spec", "restartPolicy"), "a Deployment's restartPolicy must be Always, not %q", p)
	}
	selector := v.Spec.Selector.MatchLabels
	if len(selector) == 0 {
		d.errorf(at(n, "spec", "selector"), "a Deployment needs selector.matchLabels")
	}
	for _, name := range slices.Sorted(maps.Keys(selector)) {
		if got, ok := v.Spec.Template.Metadata.Labels[name]; !ok || got != selector[name] {
			d.errorf(at(n, "spec", "selector", "matchLabels", name), "the template's label %s must be %q, as selected, not %q", name, selector[name], got)
		}
	}
	checkPod(d, at(n, "spec", "template"), v.Spec.Template.Spec.Containers, v.Spec.Template.Spec.Volumes)
	if list := child(n, "spec", "template", "spec", "containers"); list != nil && list.Kind == yaml.SequenceNode && len(list.Content) == 1 {
		for _, probe := range []string{"startupProbe", "readinessProbe", "livenessProbe"} {
			if get := child(list.Content[0], probe, "httpGet"); get != nil && child(get, "port") == nil {
				d.errorf(get, "%s.httpGet needs a port: only Knative fills it in", probe)
			}
		}
	}
}

// envName is what Kubernetes takes for a variable's name, as far as a process can have it.
var envName = regexp.MustCompile(`^[-._a-zA-Z][-._a-zA-Z0-9]*$`)

func checkPod(d *decoder, n *yaml.Node, containers []Container, volumes []Volume) {
	if len(containers) != 1 {
		d.errorf(at(n, "spec", "containers"), "exactly one container runs here, not %d", len(containers))
		return
	}
	c := &containers[0]
	errorf := func(p Pos, format string, args ...any) { d.errorf(&yaml.Node{Line: p.Line}, format, args...) }
	if c.Image == "" {
		errorf(c.Pos, "the container has no image")
	}
	if len(c.Ports) > 1 {
		errorf(c.Pos, "a container has at most one port")
	} else if len(c.Ports) == 1 && !slices.Contains([]string{"", "http1", "h2c"}, c.Ports[0].Name) {
		errorf(c.Pos, "a port's name must be http1 or h2c, not %q", c.Ports[0].Name)
	}
	for _, e := range c.Env {
		if !envName.MatchString(e.Name) {
			errorf(e.Pos, "%q is no name of a variable", e.Name)
		}
		if slices.Contains([]string{"PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"}, e.Name) {
			errorf(e.Pos, "%s is Knative's own variable and may not be set", e.Name)
		}
		if e.ValueFrom == nil {
			continue
		}
		set := 0
		for _, is := range []bool{e.ValueFrom.ConfigMapKeyRef != nil, e.ValueFrom.SecretKeyRef != nil, e.ValueFrom.FieldRef != nil} {
			if is {
				set++
			}
		}
		if set != 1 || e.Value != "" {
			errorf(e.Pos, "%s must have either value or one of valueFrom.configMapKeyRef, secretKeyRef, fieldRef", e.Name)
		}
		if f := e.ValueFrom.FieldRef; f != nil && f.FieldPath != "metadata.name" && f.FieldPath != "metadata.namespace" {
			errorf(e.Pos, "fieldPath %q is not known here; known are metadata.name and metadata.namespace", f.FieldPath)
		}
	}
	for _, e := range c.EnvFrom {
		if (e.ConfigMapRef == nil) == (e.SecretRef == nil) {
			errorf(e.Pos, "envFrom must have either configMapRef or secretRef")
		}
	}
	for _, m := range c.VolumeMounts {
		i := slices.IndexFunc(volumes, func(v Volume) bool { return v.Name == m.Name })
		if i < 0 {
			errorf(m.Pos, "volume %q is not among the pod's volumes", m.Name)
		}
		if i >= 0 && volumes[i].Secret != nil {
			if !volumes[i].Secret.Optional {
				errorf(m.Pos, "a process here has no files of Secrets: %s must be optional", volumes[i].Secret.SecretName)
			}
		} else if m.MountPath != "/tmp" {
			errorf(m.Pos, "a process here cannot have a volume at %q; only /tmp is known, which becomes its TMPDIR", m.MountPath)
		}
	}
}

func finishBroker(d *decoder, n *yaml.Node, b *Broker) {
	if class := b.Metadata.Annotations[AnnotationBrokerClass]; class != "Kafka" {
		d.errorf(at(n, "metadata", "annotations", AnnotationBrokerClass), "annotation %s must be \"Kafka\" to run here, not %q", AnnotationBrokerClass, class)
	}
	checkDelivery(d, b.Spec.Delivery)
}

func finishTrigger(d *decoder, n *yaml.Node, t *Trigger) {
	if t.Spec.Broker == "" {
		d.errorf(at(n, "spec"), "the Trigger names no broker")
	}
	checkDestination(d, &t.Spec.Subscriber, at(n, "spec"), "the Trigger's subscriber")
	if t.Spec.Filter != nil {
		checkAttributes(d, at(n, "spec", "filter"), t.Spec.Filter.Attributes)
	}
	for i := range t.Spec.Filters {
		checkFilter(d, &t.Spec.Filters[i])
	}
	checkDelivery(d, t.Spec.Delivery)
}

var attributeName = regexp.MustCompile(`^[a-z0-9]+$`)

func checkAttributes(d *decoder, n *yaml.Node, attributes map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		if !attributeName.MatchString(name) {
			d.errorf(at(n, name), "%q is no attribute of a CloudEvent: their names are lower-case letters and digits", name)
		}
	}
}

func checkFilter(d *decoder, f *Filter) {
	n := &yaml.Node{Line: f.Pos.Line}
	set := 0
	for _, is := range []bool{f.Exact != nil, f.Prefix != nil, f.Suffix != nil, f.All != nil, f.Any != nil, f.Not != nil, f.CESQL != ""} {
		if is {
			set++
		}
	}
	if set != 1 {
		d.errorf(n, "a filter must have exactly one of exact, prefix, suffix, all, any, not, cesql; this one has %d", set)
	}
	for _, attributes := range []map[string]string{f.Exact, f.Prefix, f.Suffix} {
		checkAttributes(d, n, attributes)
		for name, value := range attributes {
			if value == "" {
				d.errorf(n, "the value for %q is empty, which Knative refuses", name)
			}
		}
	}
	for i := range f.All {
		checkFilter(d, &f.All[i])
	}
	for i := range f.Any {
		checkFilter(d, &f.Any[i])
	}
	if f.Not != nil {
		checkFilter(d, f.Not)
	}
}

func checkDelivery(d *decoder, v *Delivery) {
	if v == nil {
		return
	}
	n := &yaml.Node{Line: v.Pos.Line}
	if v.Retry != nil && *v.Retry < 0 {
		d.errorf(n, "delivery.retry must not be negative")
	}
	if p := v.BackoffPolicy; p != "" && p != BackoffLinear && p != BackoffExponential {
		d.errorf(n, "delivery.backoffPolicy must be %s or %s, not %q", BackoffLinear, BackoffExponential, p)
	}
	if v.Timeout != nil && *v.Timeout <= 0 {
		d.errorf(n, "delivery.timeout must be above zero")
	}
	if v.DeadLetterSink != nil {
		checkDestination(d, v.DeadLetterSink, n, "delivery.deadLetterSink")
	}
}

func checkDestination(d *decoder, v *Destination, n *yaml.Node, what string) {
	if v.Ref == nil && v.URI == "" {
		d.errorf(n, "%s needs a ref or a uri", what)
		return
	}
	if v.Ref == nil && !strings.Contains(v.URI, "://") {
		d.errorf(&yaml.Node{Line: v.Pos.Line}, "%s: the uri %q must be absolute where there is no ref", what, v.URI)
	}
}

func finishPingSource(d *decoder, n *yaml.Node, p *PingSource) {
	fields := strings.Fields(p.Spec.Schedule)
	if len(fields) != 5 && !strings.HasPrefix(p.Spec.Schedule, "@") {
		d.errorf(at(n, "spec", "schedule"), "schedule must be a cron expression of five fields such as \"*/5 * * * *\", not %q", p.Spec.Schedule)
	}
	if p.Spec.Timezone != "" {
		if _, err := time.LoadLocation(p.Spec.Timezone); err != nil {
			d.errorf(at(n, "spec", "timezone"), "timezone: %v", err)
		}
	}
	if p.Spec.Data != "" && p.Spec.DataBase64 != "" {
		d.errorf(at(n, "spec", "dataBase64"), "data and dataBase64 exclude each other")
	}
	if _, err := base64.StdEncoding.DecodeString(p.Spec.DataBase64); err != nil {
		d.errorf(at(n, "spec", "dataBase64"), "dataBase64 is not base64")
	}
	checkDestination(d, &p.Spec.Sink, at(n, "spec"), "the PingSource's sink")
	if p.Spec.CEOverrides != nil {
		checkAttributes(d, at(n, "spec", "ceOverrides", "extensions"), p.Spec.CEOverrides.Extensions)
	}
}

// Check reports every reference from one object to another that leads nowhere: a Trigger's Broker, destinations, and the ConfigMaps
// and Secrets that a container needs; and Brokers that can never be ready, since each waits for the address of its dead letter sink.
func (s *Set) Check() error {
	var errs []error
	report := func(p Pos, format string, args ...any) {
		errs = append(errs, &Error{Pos: p, Message: fmt.Sprintf(format, args...)})
	}
	destination := func(v *Destination, namespace string) {
		if v == nil {
			return
		}
		if key, is := v.Broker(namespace); is {
			if _, ok := s.Brokers[key]; !ok {
				at := v.Pos
				if v.Ref != nil {
					at = v.Ref.Pos
				}
				report(at, "there is no Broker %s%s", key, suggest(key.String(), names(s.Brokers)))
			}
			return
		}
		if v.Ref == nil {
			return
		}
		if key, is := v.JobSink(namespace); is {
			if s.JobSinks[key] == nil {
				report(v.Ref.Pos, "there is no JobSink %s%s", key, suggest(key.String(), names(s.JobSinks)))
			}
			return
		}
		if v.Ref.APIVersion+" "+v.Ref.Kind != serviceRef {
			report(v.Ref.Pos, "a ref to %s (%s) does not run here; known are Broker (eventing.knative.dev/v1), Service (serving.knative.dev/v1) and JobSink (sinks.knative.dev/v1alpha1)", v.Ref.Kind, v.Ref.APIVersion)
			return
		}
		if key := v.Ref.key(namespace); s.Services[key] == nil {
			report(v.Ref.Pos, "there is no %s %s%s", v.Ref.Kind, key, suggest(key.String(), names(s.Services)))
		}
	}
	delivery := func(v *Delivery, namespace string) {
		if v != nil {
			destination(v.DeadLetterSink, namespace)
		}
	}
	for _, b := range Sorted(s.Brokers) {
		delivery(b.Spec.Delivery, b.Metadata.Namespace)
	}
	s.checkCycles(report)
	for _, t := range Sorted(s.Triggers) {
		key := Key{t.Metadata.Namespace, t.Spec.Broker}
		if _, ok := s.Brokers[key]; !ok {
			report(t.Pos, "Trigger %s: there is no Broker %s%s", t.Metadata.Name, key, suggest(key.String(), names(s.Brokers)))
		}
		destination(&t.Spec.Subscriber, t.Metadata.Namespace)
		delivery(t.Spec.Delivery, t.Metadata.Namespace)
	}
	for _, p := range Sorted(s.PingSources) {
		destination(&p.Spec.Sink, p.Metadata.Namespace)
	}
	for _, service := range Sorted(s.Services) {
		if _, err := s.Environment(service.Metadata.Namespace, service.Metadata.Name, service.Container()); err != nil {
			errs = append(errs, err)
		}
	}
	for _, deployment := range Sorted(s.Deployments) {
		if _, err := s.Environment(deployment.Metadata.Namespace, deployment.Metadata.Name, deployment.Container()); err != nil {
			errs = append(errs, err)
		}
	}
	for _, job := range Sorted(s.Jobs) {
		if _, err := s.Environment(job.Metadata.Namespace, job.Metadata.Name, job.Container()); err != nil {
			errs = append(errs, err)
		}
	}
	for _, c := range Sorted(s.CronJobs) {
		if _, err := s.Environment(c.Metadata.Namespace, c.Metadata.Name, c.Container()); err != nil {
			errs = append(errs, err)
		}
	}
	for _, sink := range Sorted(s.JobSinks) {
		if _, err := s.Environment(sink.Metadata.Namespace, sink.Metadata.Name, sink.Container()); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// checkCycles reports Brokers whose dead letter sinks, by ref, lead back to themselves. Knative gives a Broker its address only once that of its sink is known, so none of
// them would ever get one, and no Trigger of theirs would run. An address that is spelled out waits for nothing.
func (s *Set) checkCycles(report func(Pos, string, ...any)) {
	next := func(key Key) (Key, *Reference) {
		b := s.Brokers[key]
		if b == nil || b.Spec.Delivery == nil || b.Spec.Delivery.DeadLetterSink == nil {
			return Key{}, nil
		}
		sink := b.Spec.Delivery.DeadLetterSink
		to, is := sink.Broker(key.Namespace)
		if !is {
			return Key{}, nil
		}
		return to, sink.Ref
	}
	told := map[Key]bool{}
	for _, b := range Sorted(s.Brokers) {
		var way []Key
		key := b.Key()
		for !told[key] && !slices.Contains(way, key) {
			to, ref := next(key)
			if ref == nil {
				way = nil
				break
			}
			way, key = append(way, key), to
		}
		from := slices.Index(way, key)
		if from < 0 {
			continue // it ends, or leads to one that was told
		}
		ring := way[from:]
		for _, one := range ring {
			told[one] = true
		}
		_, ref := next(ring[0])
		chain := make([]string, 0, len(ring)+1)
		for _, one := range append(slices.Clone(ring), ring[0]) {
			chain = append(chain, one.String())
		}
		report(ref.Pos, "Broker %s is never ready: it waits for the address of its deadLetterSink, which waits for its own (%s); write the sink as uri: %s",
			ring[0], strings.Join(chain, " -> "), BrokerURL(ring[len(ring)-1]))
	}
}

func names[T any](objects map[Key]T) []string {
	var all []string
	for key := range objects {
		all = append(all, key.String())
	}
	return all
}
