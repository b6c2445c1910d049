package function

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"millrace/shared/ingress"
	"millrace/shared/kafka"
	"millrace/shared/serve"
	"millrace/shared/telemetry"
	"millrace/shared/tracing"
)

// Process is how a function logs, where it listens, how long it takes to end, and where its spans go.
type Process struct {
	telemetry.Log
	serve.Address
	tracing.Spans

	Grace    time.Duration `envconfig:"SHUTDOWN_GRACE" default:"25s" desc:"for the end; below the pod's grace period"`
	GOGC     string        `envconfig:"GOGC" desc:"as for every Go program; else 400"`
	MemLimit string        `envconfig:"GOMEMLIMIT" desc:"as for every Go program; else three quarters of what knative/ allows"`
}

// Validate joins everything that is wrong.
func (p Process) Validate() error {
	return errors.Join(p.Address.Validate(), positive("SHUTDOWN_GRACE", p.Grace), p.Spans.Validate())
}

// Contracts says where contracts are.
type Contracts struct {
	Location string        `envconfig:"CONTRACTS" desc:"a directory beside the embedded contracts"`
	Interval time.Duration `envconfig:"CONTRACTS_INTERVAL" default:"10s" desc:"how often the directory is looked at"`
}

// Validate says what is wrong.
func (c Contracts) Validate() error { return positive("CONTRACTS_INTERVAL", c.Interval) }

// Intake is how events come and in what batches they are handled.
type Intake struct {
	URL          string        `envconfig:"INTAKE" desc:"kafka://brokers/topic,topic?group=name (&start=newest, &member=static): straight from Kafka; http or empty: requests on PORT"`
	Hostname     string        `envconfig:"HOSTNAME" desc:"set by Kubernetes: the name of a static member, which has its partitions back at once when its container is started anew"`
	Waiting      int           `envconfig:"MAX_WAITING_EVENTS" default:"100000" desc:"events from Kafka that wait for their contract without their bytes, some 200 bytes each; more hold up reading"`
	Flush        time.Duration `envconfig:"FLUSH_INTERVAL" default:"5ms" desc:"how long an event waits for others"`
	Events       int           `envconfig:"FLUSH_EVENTS" default:"2000" desc:"events of one batch"`
	Bytes        int64         `envconfig:"FLUSH_BYTES" default:"5242880" desc:"bytes of one batch"`
	InFlight     int64         `envconfig:"MAX_BYTES_IN_FLIGHT" default:"25165824" desc:"bytes of events held, beside what waits for a sink"`
	BatchTimeout time.Duration `envconfig:"BATCH_TIMEOUT" default:"25s" desc:"time for one batch, all its writes together"`
	Attempts     int           `envconfig:"MAX_ATTEMPTS" default:"5" desc:"attempts of an event while others pass"`
}

// Validate joins everything that is wrong.
func (i Intake) Validate() error {
	return errors.Join(
		positive("FLUSH_INTERVAL", i.Flush), positive("FLUSH_EVENTS", i.Events), positive("FLUSH_BYTES", i.Bytes),
		positive("MAX_BYTES_IN_FLIGHT", i.InFlight), positive("MAX_WAITING_EVENTS", i.Waiting), positive("BATCH_TIMEOUT", i.BatchTimeout), positive("MAX_ATTEMPTS", i.Attempts),
	)
}

// Instance returns the name of a static member of the group, "" for a dynamic one.
func (i Intake) Instance(s kafka.Subscription) string {
	if !s.Static {
		return ""
	}
	return i.Hostname
}

// From returns what the intake's URL says; no topics mean HTTP.
func (i Intake) From(b Brokers) (s kafka.Subscription, err error) {
	if i.URL == "" || i.URL == "http" || strings.HasPrefix(i.URL, "http://") {
		return s, nil
	}
	if s, err = kafka.ParseIntakeURL(i.URL, kafka.SplitBrokers(b.Brokers)); err != nil {
		return s, fmt.Errorf("INTAKE: %w", err)
	}
	if s.Static && i.Hostname == "" {
		return s, errors.New("INTAKE: a static member has its name from HOSTNAME, which is empty; member=dynamic needs none")
	}
	s.Security = b.Security
	return s, nil
}

// Brokers are the Kafka brokers of URLs that name none, and how all brokers are reached.
type Brokers struct {
	Brokers string `envconfig:"KAFKA_BROKERS" desc:"host:port, comma separated; for URLs that name none"`
	kafka.Security
}

// DeadLetters says where dead letters go.
type DeadLetters struct {
	DeadSink string `envconfig:"DEAD_SINK" default:"kafka:///events.dead" desc:"where dead letters go, as SINK"`
}

// Dead returns the target of dead letters.
func (d DeadLetters) Dead(b Brokers) (Target, error) { return target("DEAD_SINK", d.DeadSink, b) }

// Output says where a function's events go.
type Output struct {
	Sink  string `envconfig:"SINK" desc:"where events go: kafka://brokers/topic or http://ingress/path; else K_SINK, else the topic kafka:///events.*"`
	KSink string `envconfig:"K_SINK" desc:"set by a SinkBinding; for where SINK is empty"`
}

// Out returns the target of events: fallback where nothing is set.
func (o Output) Out(b Brokers, fallback string) (Target, error) {
	switch {
	case o.Sink != "":
		return target("SINK", o.Sink, b)
	case o.KSink != "":
		return target("K_SINK", o.KSink, b)
	default:
		return target("SINK", fallback, b)
	}
}

// Target is a sink's URL, read: a topic, or an address that takes events over HTTP.
type Target struct {
	Brokers []string // of the topic
	Topic   string
	// Security is how the brokers are reached.
	Security kafka.Security
	Address  *url.URL // nil for a topic
}

// Same reports whether both are one place.
func (t Target) Same(other Target) bool {
	if t.Address == nil || other.Address == nil {
		return t.Address == other.Address && t.Topic == other.Topic && slices.Equal(t.Brokers, other.Brokers)
	}
	return t.Address.String() == other.Address.String()
}

func target(name, sink string, b Brokers) (t Target, err error) {
	if strings.HasPrefix(sink, "http://") || strings.HasPrefix(sink, "https://") {
		if t.Address, err = ingress.Parse(sink); err != nil {
			return Target{}, fmt.Errorf("%s: %w", name, err)
		}
		return t, nil
	}
	t.Security = b.Security
	t.Brokers, t.Topic, err = kafka.ParseURL(sink, kafka.SplitBrokers(b.Brokers))
	if err == nil && strings.Contains(t.Topic, ",") {
		err = errors.New("it names several topics")
	}
	if err != nil {
		return Target{}, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

func positive[T int | int64 | time.Duration](name string, n T) error {
	if n <= 0 {
		return fmt.Errorf("%s=%v must be above 0", name, n)
	}
	return nil
}
