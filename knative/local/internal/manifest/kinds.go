package manifest

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Annotations and labels that this platform reads.
const (
	// AnnotationBrokerClass chooses a Broker's implementation; only "Kafka" runs here.
	AnnotationBrokerClass = "eventing.knative.dev/broker.class"
	// AnnotationExternalTopic names the Kafka topic that a Broker of class Kafka uses instead of one of its own.
	AnnotationExternalTopic = "kafka.eventing.knative.dev/external.topic"
	// LabelVisibility with the value VisibilityClusterLocal keeps a Service off the public gateway.
	LabelVisibility = "networking.knative.dev/visibility"
	// VisibilityClusterLocal is the value of LabelVisibility.
	VisibilityClusterLocal = "cluster-local"

	autoscalingPrefix = "autoscaling.knative.dev/"
)

// Object is what every kind has.
type Object struct {
	// Pos is where the document begins.
	Pos        Pos
	APIVersion string   `yaml:"apiVersion"`
	Kind       string   `yaml:"kind"`
	Metadata   Metadata `yaml:"metadata"`
}

// Metadata is the part of Kubernetes' object metadata that is run here. An absent namespace reads as "default".
type Metadata struct {
	Name         string            `yaml:"name"`
	GenerateName string            `yaml:"generateName"`
	Namespace    string            `yaml:"namespace"`
	Labels       map[string]string `yaml:"labels"`
	Annotations  map[string]string `yaml:"annotations"`
}

// Key names an object within its kind.
type Key struct{ Namespace, Name string }

// String returns "namespace/name".
func (k Key) String() string { return k.Namespace + "/" + k.Name }

// Key returns the object's namespace and name.
func (o *Object) Key() Key { return Key{o.Metadata.Namespace, o.Metadata.Name} }

// Namespace is a v1 Namespace. It has no effect here but to be known.
type Namespace struct {
	Object
}

// ConfigMap is a v1 ConfigMap. BinaryData is not run here.
type ConfigMap struct {
	Object
	Data      map[string]string `yaml:"data"`
	Immutable Ignored           `yaml:"immutable"`
}

// Secret is a v1 Secret. Data holds the decoded values of data and stringData, of which the latter win.
type Secret struct {
	Object
	Encoded    map[string]base64Text `yaml:"data"`
	StringData map[string]secretText `yaml:"stringData"`
	Type       string                `yaml:"type"`
	Immutable  Ignored               `yaml:"immutable"`

	Data map[string]string
}

// base64Text and secretText are values of a Secret: errors about them never quote them.
type (
	base64Text string
	secretText string
)

func (v *base64Text) decodeNode(d *decoder, n *yaml.Node, path string) {
	decoded, err := base64.StdEncoding.DecodeString(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		d.errorf(n, "%s is not base64; put plain text under stringData", path)
		return
	}
	*v = base64Text(decoded)
}

func (v *secretText) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		d.errorf(n, "%s must be a string: write it in quotes", path)
		return
	}
	*v = secretText(n.Value)
}

// ServiceAccount is a v1 ServiceAccount, which has no effect here.
type ServiceAccount struct {
	Object
	Automount        Ignored `yaml:"automountServiceAccountToken"`
	ImagePullSecrets Ignored `yaml:"imagePullSecrets"`
}

// Service is a serving.knative.dev/v1 Service: a function.
type Service struct {
	Object
	Spec ServiceSpec `yaml:"spec"`

	// Scaling is what the template's autoscaling annotations say.
	Scaling Scaling
}

// ServiceSpec is the specification of a Service. Traffic splitting and named revisions are not run here.
type ServiceSpec struct {
	Template RevisionTemplate `yaml:"template"`
}

// RevisionTemplate is what a revision is made from.
type RevisionTemplate struct {
	Metadata Metadata     `yaml:"metadata"`
	Spec     RevisionSpec `yaml:"spec"`
}

// RevisionSpec is a pod's specification with Knative's fields beside it.
type RevisionSpec struct {
	// ContainerConcurrency is how many requests a process gets at once; 0, the default, is without limit.
	ContainerConcurrency int `yaml:"containerConcurrency"`
	// TimeoutSeconds is how long a request may wait for the beginning of its answer, the start of the process included.
	// The default is 300, the limit 600, as in Knative.
	TimeoutSeconds *int `yaml:"timeoutSeconds"`

	Containers []Container `yaml:"containers"`
	Volumes    []Volume    `yaml:"volumes"`

	ServiceAccountName     Ignored `yaml:"serviceAccountName"`
	SecurityContext        Ignored `yaml:"securityContext"`
	NodeSelector           Ignored `yaml:"nodeSelector"`
	Tolerations            Ignored `yaml:"tolerations"`
	Affinity               Ignored `yaml:"affinity"`
	TopologySpread         Ignored `yaml:"topologySpreadConstraints"`
	Automount              Ignored `yaml:"automountServiceAccountToken"`
	EnableServiceLinks     Ignored `yaml:"enableServiceLinks"`
	ImagePullSecrets       Ignored `yaml:"imagePullSecrets"`
	PriorityClassName      Ignored `yaml:"priorityClassName"`
	ResponseStartTimeout   Ignored `yaml:"responseStartTimeoutSeconds"`
	IdleTimeoutSeconds     Ignored `yaml:"idleTimeoutSeconds"`
	RuntimeClassName       Ignored `yaml:"runtimeClassName"`
	ShareProcessNamespaces Ignored `yaml:"shareProcessNamespace"`
}

// Timeout is TimeoutSeconds with its default.
func (s *RevisionSpec) Timeout() time.Duration {
	if s.TimeoutSeconds == nil {
		return 300 * time.Second
	}
	return time.Duration(*s.TimeoutSeconds) * time.Second
}

// Public reports whether the Service is reachable from outside the cluster.
func (s *Service) Public() bool { return s.Metadata.Labels[LabelVisibility] != VisibilityClusterLocal }

// Container returns the Service's one container.
func (s *Service) Container() *Container { return &s.Spec.Template.Spec.Containers[0] }

// Scaling holds the autoscaling annotations that have an effect here. max-scale and target are known and without effect: a
// function has at most one process.
type Scaling struct {
	MinScale int
	// Window is how long a function is idle before it is stopped (autoscaling.knative.dev/window, default 60 s).
	Window time.Duration
	// Retention is how much longer its last process is kept (scale-to-zero-pod-retention-period, default 0).
	Retention time.Duration
}

// Container is a container of a pod. Command and workingDir are not known here: a process is the binary that ko would put into
// the image.
type Container struct {
	Pos   Pos
	Name  string `yaml:"name"`
	Image string `yaml:"image"`
	// Args are as written; [Container.ExpandedArgs] expands them.
	Args         []string        `yaml:"args"`
	Env          []EnvVar        `yaml:"env"`
	EnvFrom      []EnvFromSource `yaml:"envFrom"`
	Ports        []ContainerPort `yaml:"ports"`
	Readiness    *Probe          `yaml:"readinessProbe"`
	VolumeMounts []VolumeMount   `yaml:"volumeMounts"`

	Liveness                 Ignored `yaml:"livenessProbe"`
	Startup                  Ignored `yaml:"startupProbe"`
	Resources                Ignored `yaml:"resources"`
	SecurityContext          Ignored `yaml:"securityContext"`
	ImagePullPolicy          Ignored `yaml:"imagePullPolicy"`
	TerminationMessagePath   Ignored `yaml:"terminationMessagePath"`
	TerminationMessagePolicy Ignored `yaml:"terminationMessagePolicy"`
}

// HTTP2 reports whether the container wants HTTP/2 without TLS, which Knative takes from a port named h2c.
func (c *Container) HTTP2() bool { return len(c.Ports) > 0 && c.Ports[0].Name == "h2c" }

// ContainerPort is the port of a container. Its number is not used: every process here gets a free one in $PORT.
type ContainerPort struct {
	Name          string  `yaml:"name"`
	ContainerPort int     `yaml:"containerPort"`
	Protocol      Ignored `yaml:"protocol"`
}

// Volume is a pod's volume: an empty directory, or the files of a Secret that may be missing, and is here.
type Volume struct {
	Pos      Pos
	Name     string        `yaml:"name"`
	EmptyDir Ignored       `yaml:"emptyDir"`
	Secret   *SecretVolume `yaml:"secret"`
}

// SecretVolume names a Secret whose keys become files.
type SecretVolume struct {
	SecretName  string  `yaml:"secretName"`
	Optional    bool    `yaml:"optional"`
	DefaultMode Ignored `yaml:"defaultMode"`
}

// VolumeMount is where a volume appears; only /tmp is known here and becomes the process's TMPDIR. Where an optional Secret's files would be there is nothing.
type VolumeMount struct {
	Pos       Pos
	Name      string  `yaml:"name"`
	MountPath string  `yaml:"mountPath"`
	ReadOnly  Ignored `yaml:"readOnly"`
}

// EnvVar is one variable of a container.
type EnvVar struct {
	Pos       Pos
	Name      string        `yaml:"name"`
	Value     string        `yaml:"value"`
	ValueFrom *EnvVarSource `yaml:"valueFrom"`
}

// EnvVarSource says where a variable's value comes from; exactly one field is set.
type EnvVarSource struct {
	ConfigMapKeyRef *KeySelector   `yaml:"configMapKeyRef"`
	SecretKeyRef    *KeySelector   `yaml:"secretKeyRef"`
	FieldRef        *FieldSelector `yaml:"fieldRef"`
}

// KeySelector is a key of a ConfigMap or Secret.
type KeySelector struct {
	Name     string `yaml:"name"`
	Key      string `yaml:"key"`
	Optional bool   `yaml:"optional"`
}

// FieldSelector is a field of the pod: metadata.name or metadata.namespace.
type FieldSelector struct {
	APIVersion Ignored `yaml:"apiVersion"`
	FieldPath  string  `yaml:"fieldPath"`
}

// EnvFromSource makes variables of all keys of a ConfigMap or Secret.
type EnvFromSource struct {
	Pos          Pos
	Prefix       string        `yaml:"prefix"`
	ConfigMapRef *NameSelector `yaml:"configMapRef"`
	SecretRef    *NameSelector `yaml:"secretRef"`
}

// NameSelector names a ConfigMap or Secret.
type NameSelector struct {
	Name     string `yaml:"name"`
	Optional bool   `yaml:"optional"`
}

// Probe is how a process is found to be ready: by HTTP, or by a connection to its port where HTTPGet is nil. Numbers of ports
// are not used; the timing fields neither, since a starting process is asked every few milliseconds, as Knative does.
type Probe struct {
	HTTPGet   *HTTPGet `yaml:"httpGet"`
	TCPSocket Ignored  `yaml:"tcpSocket"`

	InitialDelaySeconds Ignored `yaml:"initialDelaySeconds"`
	PeriodSeconds       Ignored `yaml:"periodSeconds"`
	TimeoutSeconds      Ignored `yaml:"timeoutSeconds"`
	SuccessThreshold    Ignored `yaml:"successThreshold"`
	FailureThreshold    Ignored `yaml:"failureThreshold"`
}

// HTTPGet is the request of a probe.
type HTTPGet struct {
	Path string  `yaml:"path"`
	Port Ignored `yaml:"port"`
}

// Broker is an eventing.knative.dev/v1 Broker of class Kafka.
type Broker struct {
	Object
	Spec BrokerSpec `yaml:"spec"`
}

// Topic is the Kafka topic of the Broker: the one of AnnotationExternalTopic, or else knative-broker-NAMESPACE-NAME.
func (b *Broker) Topic() string {
	if topic := b.Metadata.Annotations[AnnotationExternalTopic]; topic != "" {
		return topic
	}
	return "knative-broker-" + b.Metadata.Namespace + "-" + b.Metadata.Name
}

// BrokerSpec is the specification of a Broker. Config (brokers, partitions, replicas of Knative's own topics) has no effect here.
type BrokerSpec struct {
	Config   Ignored   `yaml:"config"`
	Delivery *Delivery `yaml:"delivery"`
}

// Trigger is an eventing.knative.dev/v1 Trigger.
type Trigger struct {
	Object
	Spec TriggerSpec `yaml:"spec"`
}

// TriggerSpec is the specification of a Trigger. Where Filters is not empty, Filter is not looked at, as in Knative.
type TriggerSpec struct {
	// Broker is the name of a Broker of the Trigger's namespace.
	Broker     string         `yaml:"broker"`
	Filter     *TriggerFilter `yaml:"filter"`
	Filters    []Filter       `yaml:"filters"`
	Subscriber Destination    `yaml:"subscriber"`
	// Delivery replaces the Broker's delivery whole; nil means the Broker's.
	Delivery *Delivery `yaml:"delivery"`
}

// TriggerFilter is the older form of a filter: every attribute must be equal; an empty value means that it must be there.
type TriggerFilter struct {
	Attributes map[string]string `yaml:"attributes"`
}

// Filter is a filter of the CloudEvents Subscriptions API. Exactly one field is set.
type Filter struct {
	Pos    Pos
	Exact  map[string]string `yaml:"exact"`
	Prefix map[string]string `yaml:"prefix"`
	Suffix map[string]string `yaml:"suffix"`
	All    []Filter          `yaml:"all"`
	Any    []Filter          `yaml:"any"`
	Not    *Filter           `yaml:"not"`
	CESQL  string            `yaml:"cesql"`
}

// Backoff policies of a Delivery.
const (
	BackoffLinear      = "linear"
	BackoffExponential = "exponential"
)

// Delivery says what happens when a subscriber does not take an event.
type Delivery struct {
	Pos Pos
	// Retry is how often a failed event is sent again; nil and 0 mean never.
	Retry *int `yaml:"retry"`
	// BackoffPolicy is BackoffLinear or BackoffExponential ("" reads as exponential).
	BackoffPolicy string    `yaml:"backoffPolicy"`
	BackoffDelay  *Duration `yaml:"backoffDelay"`
	// Timeout is how long one attempt may take; nil means Knative's default.
	Timeout        *Duration    `yaml:"timeout"`
	DeadLetterSink *Destination `yaml:"deadLetterSink"`
}

// Destination is where events go: an object, a URI, or a URI relative to the object's address.
type Destination struct {
	Pos Pos
	Ref *Reference `yaml:"ref"`
	URI string     `yaml:"uri"`
}

// IngressHost is the name that Brokers of class Kafka have in a cluster; a Broker's URL is http://IngressHost/NAMESPACE/NAME.
const IngressHost = "kafka-broker-ingress.knative-eventing.svc.cluster.local"

// BrokerURL is the address of a Broker in a cluster.
func BrokerURL(key Key) string { return "http://" + IngressHost + "/" + key.Namespace + "/" + key.Name }

// Broker returns the Broker that the destination leads to, by a ref or by the address of its ingress; false for any other destination. namespace is the one of the object
// that refers. That the Broker exists is not said.
func (d *Destination) Broker(namespace string) (Key, bool) {
	if d.Ref != nil {
		return d.Ref.key(namespace), d.Ref.APIVersion+" "+d.Ref.Kind == brokerRef
	}
	u, err := url.Parse(d.URI)
	if err != nil || u.Host != IngressHost && u.Host != IngressHost+":80" {
		return Key{}, false
	}
	at, name, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	return Key{Namespace: at, Name: name}, true
}

// JobSink returns the JobSink that the destination refers to; false for any other destination. That it exists is not said.
func (d *Destination) JobSink(namespace string) (Key, bool) {
	if d.Ref == nil || d.Ref.APIVersion+" "+d.Ref.Kind != jobSinkRef {
		return Key{}, false
	}
	return d.Ref.key(namespace), true
}

// Reference names an object: a Broker, a Service or a JobSink. An absent namespace is the one of the object that refers.
type Reference struct {
	Pos        Pos
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Name       string `yaml:"name"`
	Namespace  string `yaml:"namespace"`
}

// Kinds of objects that a Reference may name, with their apiVersion.
const (
	brokerRef  = "eventing.knative.dev/v1 Broker"
	serviceRef = "serving.knative.dev/v1 Service"
	jobSinkRef = "sinks.knative.dev/v1alpha1 JobSink"
)

// key is the object's, which lies in namespace where the Reference names none.
func (r *Reference) key(namespace string) Key {
	if r.Namespace != "" {
		namespace = r.Namespace
	}
	return Key{Namespace: namespace, Name: r.Name}
}

// PingSource is a sources.knative.dev/v1 PingSource.
type PingSource struct {
	Object
	Spec PingSourceSpec `yaml:"spec"`
}

// PingSourceSpec is the specification of a PingSource.
type PingSourceSpec struct {
	// Schedule is a cron expression of five fields, or @every DURATION and the like.
	Schedule    string       `yaml:"schedule"`
	Timezone    string       `yaml:"timezone"`
	ContentType string       `yaml:"contentType"`
	Data        string       `yaml:"data"`
	DataBase64  string       `yaml:"dataBase64"`
	Sink        Destination  `yaml:"sink"`
	CEOverrides *CEOverrides `yaml:"ceOverrides"`
}

// CEOverrides are extensions that a source sets on its events.
type CEOverrides struct {
	Extensions map[string]string `yaml:"extensions"`
}

// Job is a batch/v1 Job with one container that runs once. A Job with only generateName has that, without its last hyphen, as name.
type Job struct {
	Object
	Spec JobSpec `yaml:"spec"`
}

// JobSpec is the specification of a Job. More than one completion is not run here.
type JobSpec struct {
	// BackoffLimit is how often a failed process is run again; the default is 6.
	BackoffLimit *int `yaml:"backoffLimit"`
	// ActiveDeadlineSeconds bounds the whole Job; nil is without bound.
	ActiveDeadlineSeconds *int        `yaml:"activeDeadlineSeconds"`
	Template              PodTemplate `yaml:"template"`

	TTLSecondsAfterFinished Ignored `yaml:"ttlSecondsAfterFinished"`
	Suspend                 Ignored `yaml:"suspend"`
}

// CronJob is a batch/v1 CronJob, whose Job runs again and again.
type CronJob struct {
	Object
	Spec CronJobSpec `yaml:"spec"`
}

// CronJobSpec is the specification of a CronJob. Its only concurrencyPolicy here is ForbidConcurrent, under which a run that is due while the last one is at work is left out.
type CronJobSpec struct {
	// Schedule is a cron expression of five fields, or @every DURATION and the like.
	Schedule          string `yaml:"schedule"`
	TimeZone          string `yaml:"timeZone"`
	ConcurrencyPolicy string `yaml:"concurrencyPolicy"`
	// Suspend keeps it from running.
	Suspend     bool        `yaml:"suspend"`
	JobTemplate JobTemplate `yaml:"jobTemplate"`

	StartingDeadlineSeconds    Ignored `yaml:"startingDeadlineSeconds"`
	SuccessfulJobsHistoryLimit Ignored `yaml:"successfulJobsHistoryLimit"`
	FailedJobsHistoryLimit     Ignored `yaml:"failedJobsHistoryLimit"`
}

// ForbidConcurrent is the concurrencyPolicy by which no two runs are at work at once.
const ForbidConcurrent = "Forbid"

// JobTemplate is what the Jobs of a CronJob are made from.
type JobTemplate struct {
	Metadata Metadata `yaml:"metadata"`
	Spec     JobSpec  `yaml:"spec"`
}

// Container returns the Job's one container.
func (c *CronJob) Container() *Container { return &c.Spec.JobTemplate.Spec.Template.Spec.Containers[0] }

// Job returns the Job that one run is, under the CronJob's name.
func (c *CronJob) Job() *Job { return &Job{Object: c.Object, Spec: c.Spec.JobTemplate.Spec} }

// JobSink is a sinks.knative.dev/v1alpha1 JobSink, which makes a Job of each event.
type JobSink struct {
	Object
	Spec JobSinkSpec `yaml:"spec"`
}

// JobSinkSpec is the specification of a JobSink.
type JobSinkSpec struct {
	Job JobTemplate `yaml:"job"`
}

// JobSinkHost is the name under which all JobSinks take events in a cluster; a JobSink's URL is http://JobSinkHost/NAMESPACE/NAME.
const JobSinkHost = "job-sink.knative-eventing.svc.cluster.local"

// Container returns the Job's one container.
func (s *JobSink) Container() *Container { return &s.Spec.Job.Spec.Template.Spec.Containers[0] }

// Job returns the Job that one event starts, under the JobSink's name.
func (s *JobSink) Job() *Job { return &Job{Object: s.Object, Spec: s.Spec.Job.Spec} }

// Deployment is an apps/v1 Deployment with one container: a function that runs without being asked. There is one process of it here, whatever its number of replicas.
type Deployment struct {
	Object
	Spec DeploymentSpec `yaml:"spec"`
}

// DeploymentSpec is the specification of a Deployment.
type DeploymentSpec struct {
	// Replicas is how many pods a cluster runs; nil means 1, and of 0 nothing runs here either.
	Replicas *int          `yaml:"replicas"`
	Selector LabelSelector `yaml:"selector"`
	Template PodTemplate   `yaml:"template"`

	Strategy                Ignored `yaml:"strategy"`
	MinReadySeconds         Ignored `yaml:"minReadySeconds"`
	RevisionHistoryLimit    Ignored `yaml:"revisionHistoryLimit"`
	ProgressDeadlineSeconds Ignored `yaml:"progressDeadlineSeconds"`
}

// LabelSelector selects by equal labels; expressions are not run here.
type LabelSelector struct {
	MatchLabels map[string]string `yaml:"matchLabels"`
}

// Container returns the Deployment's one container.
func (d *Deployment) Container() *Container { return &d.Spec.Template.Spec.Containers[0] }

// Runs reports whether it has any replica.
func (d *Deployment) Runs() bool { return d.Spec.Replicas == nil || *d.Spec.Replicas > 0 }

// PodTemplate is what the pods of a Job or a Deployment are made from.
type PodTemplate struct {
	Metadata Metadata `yaml:"metadata"`
	Spec     PodSpec  `yaml:"spec"`
}

// PodSpec is the specification of such a pod.
type PodSpec struct {
	Containers    []Container `yaml:"containers"`
	Volumes       []Volume    `yaml:"volumes"`
	RestartPolicy string      `yaml:"restartPolicy"`

	ServiceAccountName            Ignored `yaml:"serviceAccountName"`
	SecurityContext               Ignored `yaml:"securityContext"`
	NodeSelector                  Ignored `yaml:"nodeSelector"`
	Tolerations                   Ignored `yaml:"tolerations"`
	Affinity                      Ignored `yaml:"affinity"`
	TopologySpread                Ignored `yaml:"topologySpreadConstraints"`
	Automount                     Ignored `yaml:"automountServiceAccountToken"`
	EnableServiceLinks            Ignored `yaml:"enableServiceLinks"`
	ImagePullSecrets              Ignored `yaml:"imagePullSecrets"`
	PriorityClassName             Ignored `yaml:"priorityClassName"`
	TerminationGracePeriodSeconds Ignored `yaml:"terminationGracePeriodSeconds"`
}

// Container returns the Job's one container.
func (j *Job) Container() *Container { return &j.Spec.Template.Spec.Containers[0] }

// BackoffLimit is Spec.BackoffLimit with its default.
func (j *Job) BackoffLimit() int {
	if j.Spec.BackoffLimit == nil {
		return 6
	}
	return *j.Spec.BackoffLimit
}

// parseScaling reads the autoscaling annotations; at returns the node of an annotation's value for errors.
func parseScaling(d *decoder, annotations map[string]string, at func(key string) *yaml.Node) Scaling {
	scaling := Scaling{Window: 60 * time.Second}
	number := func(key, value string) int {
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			d.errorf(at(key), "annotation %s must be a whole number, not %q", key, value)
		}
		return n
	}
	duration := func(key, value string, lowest, highest time.Duration) time.Duration {
		v, err := time.ParseDuration(value)
		if err != nil || v < lowest || v > highest {
			d.errorf(at(key), "annotation %s must be a duration from %s to %s such as 6s or 1m, not %q", key, lowest, highest, value)
		}
		return v
	}
	for key, value := range annotations {
		switch key {
		case autoscalingPrefix + "min-scale":
			scaling.MinScale = number(key, value)
		case autoscalingPrefix + "max-scale", autoscalingPrefix + "initial-scale", autoscalingPrefix + "activation-scale":
			number(key, value)
		case autoscalingPrefix + "window":
			scaling.Window = duration(key, value, 6*time.Second, time.Hour)
		case autoscalingPrefix + "scale-to-zero-pod-retention-period":
			scaling.Retention = duration(key, value, 0, 1<<62)
		case autoscalingPrefix + "scale-down-delay":
			duration(key, value, 0, time.Hour)
		case autoscalingPrefix + "target", autoscalingPrefix + "target-utilization-percentage":
			if f, err := strconv.ParseFloat(value, 64); err != nil || f <= 0 {
				d.errorf(at(key), "annotation %s must be a number above 0, not %q", key, value)
			}
		case autoscalingPrefix + "class", autoscalingPrefix + "metric", autoscalingPrefix + "panic-window-percentage",
			autoscalingPrefix + "panic-threshold-percentage", autoscalingPrefix + "target-burst-capacity":
		default:
			if len(key) > len(autoscalingPrefix) && key[:len(autoscalingPrefix)] == autoscalingPrefix {
				d.errorf(at(key), "unknown annotation %q%s", key, suggest(key, knownScaling()))
			}
		}
	}
	return scaling
}

func knownScaling() []string {
	names := []string{"min-scale", "max-scale", "initial-scale", "target", "window", "metric", "class", "scale-down-delay", "scale-to-zero-pod-retention-period"}
	for i, name := range names {
		names[i] = fmt.Sprint(autoscalingPrefix, name)
	}
	return names
}
