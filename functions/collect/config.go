package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/google/uuid"
	"github.com/kelseyhightower/envconfig"

	"millrace/shared/event"
	"millrace/shared/function"
	"millrace/shared/kafka"
)

// config is what the environment says. The package comment has the same table, checked by a test.
type config struct {
	function.Process
	function.Brokers
	function.Output
	function.DeadLetters

	Source      string `envconfig:"SOURCE" default:"/collect" desc:"source of events without one; the same on every replica"`
	CollectorID string `envconfig:"COLLECTOR_ID" desc:"collectorid of events; else HOSTNAME of a pod, else K_REVISION"`
	Hostname    string `envconfig:"HOSTNAME" desc:"set by Kubernetes"`
	Revision    string `envconfig:"K_REVISION" desc:"set by Knative"`

	SendTimeout     time.Duration `envconfig:"SEND_TIMEOUT" default:"3s" desc:"how long a request waits for Kafka"`
	SendBufferBytes int64         `envconfig:"SEND_BUFFER_BYTES" default:"16777216" desc:"events handed to Kafka and not confirmed, at most"`
	SendLinger      time.Duration `envconfig:"SEND_LINGER" default:"2ms" desc:"how long a record waits for others"`
	RetryAfter      time.Duration `envconfig:"RETRY_AFTER" default:"1s" desc:"told with every 503"`

	MaxBodyBytes int64 `envconfig:"MAX_BODY_BYTES" default:"16777216" desc:"the largest body, decompressed"`
	MaxHeldBytes int64 `envconfig:"MAX_HELD_BYTES" default:"33554432" desc:"all bodies held at one time; beyond it 503"`
	MaxEvents    int   `envconfig:"MAX_EVENTS" default:"10000" desc:"events in one request"`

	LowercaseExtensions bool     `envconfig:"LOWERCASE_EXTENSIONS" default:"false" desc:"true: extension names with capitals (Debezium's) become lower case instead of dead letters"`
	ReadyGroups         []string `envconfig:"READY_GROUPS" desc:"group@topic,...: not ready before these groups have committed offsets"`

	// From Sink, DeadSink and ReadyGroups, by Validate.
	sink, dead function.Target
	groups     []kafka.GroupTopic
}

// readConfig reads and validates the environment.
func readConfig() (config, error) {
	var c config
	if err := envconfig.Process("", &c); err != nil {
		return c, fmt.Errorf("reading the environment: %w", err)
	}
	return c, c.Validate()
}

// Validate joins all that is wrong, and splits the URLs into their parts.
func (c *config) Validate() error {
	errs := []error{c.Process.Validate(), c.Brokers.Validate()}
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	var err error
	if c.sink, err = c.Out(c.Brokers, "kafka:///events.raw"); err != nil {
		errs = append(errs, err)
	}
	if c.dead, err = c.Dead(c.Brokers); err != nil {
		errs = append(errs, err)
	}
	check(err != nil || !c.sink.Same(c.dead), "SINK and DEAD_SINK are one place")
	check(len(c.ReadyGroups) == 0 || len(c.groupBrokers()) > 0, "READY_GROUPS needs KAFKA_BROKERS, or a SINK that names brokers")
	check(c.Source != "" && types.ParseURIRef(c.Source) != nil, "SOURCE=%q is no URI-reference", c.Source)
	check(text("", "", c.collector()) == nil && len(c.collector()) <= 256, "COLLECTOR_ID holds control characters, or has more than 256 bytes")
	for name, d := range map[string]time.Duration{
		"SEND_TIMEOUT": c.SendTimeout, "SEND_LINGER": c.SendLinger, "RETRY_AFTER": c.RetryAfter,
	} {
		check(d > 0, "%s=%s must be above 0", name, d)
	}
	check(c.SendBufferBytes >= 2*kafka.MaxMessageBytes, "SEND_BUFFER_BYTES=%d must hold two of the largest events: %d", c.SendBufferBytes, 2*kafka.MaxMessageBytes)
	check(c.MaxBodyBytes >= event.MaxSize, "MAX_BODY_BYTES=%d must be at least an event's %d", c.MaxBodyBytes, event.MaxSize)
	check(c.MaxHeldBytes >= c.MaxBodyBytes, "MAX_HELD_BYTES=%d must be at least MAX_BODY_BYTES=%d", c.MaxHeldBytes, c.MaxBodyBytes)
	check(c.MaxEvents > 0, "MAX_EVENTS=%d must be above 0", c.MaxEvents)
	c.groups = nil
	for _, s := range c.ReadyGroups {
		group, topic, ok := strings.Cut(strings.TrimSpace(s), "@")
		check(ok && group != "" && topic != "", "READY_GROUPS: %q is not group@topic", s)
		c.groups = append(c.groups, kafka.GroupTopic{Group: group, Topic: topic})
	}
	return errors.Join(errs...)
}

// groupBrokers returns where the groups of READY_GROUPS are.
func (c *config) groupBrokers() []string {
	if len(c.sink.Brokers) > 0 {
		return c.sink.Brokers
	}
	return kafka.SplitBrokers(c.Brokers.Brokers)
}

// collector returns the collector's id: the one set, or the pod's name, or the revision's where this is no pod of it, as on one machine.
func (c *config) collector() string {
	switch {
	case c.CollectorID != "":
		return c.CollectorID
	case c.Hostname != "" && strings.HasPrefix(c.Hostname, c.Revision):
		return c.Hostname
	case c.Revision != "":
		return c.Revision
	default:
		return stage
	}
}

// errIdentity says that the system gave no random numbers.
var errIdentity = errors.New("making an id")

// newID returns a UUIDv7.
func newID() (string, error) {
	id, err := uuid.NewV7FromReader(rand.Reader)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errIdentity, err)
	}
	return id.String(), nil
}
