package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/IBM/sarama"
	"golang.org/x/sync/errgroup"

	"millrace/knative/local/internal/manifest"
	"millrace/shared/kafka"
)

// Config is what [New] needs. All but Security and the last three are required.
type Config struct {
	Brokers   []string       // Kafka's, host:port
	Security  kafka.Security // how they are reached; the zero value for those that ask for nothing
	Manifests *manifest.Set  // checked
	// Transport reaches functions by http://NAME.NAMESPACE.svc.cluster.local, and any other URI that a manifest names. It starts a function that does not run, and
	// may hold the request meanwhile.
	Transport http.RoundTripper
	Tick      time.Duration // between two ticks of every PingSource, whatever its schedule
	Log       *slog.Logger  // default slog.Default
	InFlight  int           // events in the hands of one Trigger at most, those that wait for a retry among them; default 50, Knative's
	Drain     time.Duration // how long requests may take to finish at the end; default 10 s
}

// window is how far beyond the oldest unfinished event a Trigger reads on. Knative has no such bound: one event that is retried for hours does not
// hold up the others. Memory and redelivery after a crash bound it here.
const window = 1_000_000

// fetchBytes is how much one partition is asked for at a time, compressed: events of blanks shrink to some hundred bytes, so this holds up to a hundred times as much. What is
// fetched waits in memory while all slots are taken, and every Trigger has its own.
const fetchBytes = 32 << 10

// Eventing is the event delivery of a set of manifests: Brokers, Triggers and PingSources.
type Eventing struct {
	log      *slog.Logger
	producer *kafka.Producer
	brokers  map[manifest.Key]*topicTarget
	triggers []*trigger
	pings    []*ping
}

// New returns the delivery for the manifests, or an error that joins all that is wrong with them, with file and line. It connects to Kafka in the
// background; Run must follow.
func New(c Config) (*Eventing, error) {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.InFlight <= 0 {
		c.InFlight = 50
	}
	if c.Drain <= 0 {
		c.Drain = 10 * time.Second
	}
	if c.Tick <= 0 {
		return nil, errors.New("the time between ticks must be above zero")
	}
	e := &Eventing{log: c.Log, brokers: map[manifest.Key]*topicTarget{}}
	for key := range c.Manifests.Brokers {
		e.brokers[key] = &topicTarget{url: manifest.BrokerURL(key)}
	}
	var errs []error
	for _, t := range manifest.Sorted(c.Manifests.Triggers) {
		one, err := e.newTrigger(c, t)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		e.triggers = append(e.triggers, one)
	}
	for _, p := range manifest.Sorted(c.Manifests.PingSources) {
		one, err := e.newPing(c, p)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		e.pings = append(e.pings, one)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	e.producer = kafka.NewProducer(c.Brokers, kafka.ProducerOptions{ClientID: "knative-broker", Timeout: 10 * time.Second, Logger: c.Log, Config: c.Security.Apply})
	for key, b := range c.Manifests.Brokers {
		e.brokers[key].topic = e.producer.Sink(b.Topic())
	}
	return e, nil
}

func (e *Eventing) newTrigger(c Config, m *manifest.Trigger) (*trigger, error) {
	key := manifest.Key{Namespace: m.Metadata.Namespace, Name: m.Spec.Broker}
	b, ok := c.Manifests.Brokers[key]
	if !ok {
		return nil, &manifest.Error{Pos: m.Pos, Message: fmt.Sprintf("there is no Broker %s", key)}
	}
	d := m.Spec.Delivery
	if d == nil {
		d = b.Spec.Delivery // the Trigger's replaces the Broker's whole
	}
	wants, err := compileFilter(m)
	if err != nil {
		return nil, err
	}
	t := &trigger{
		namespace: m.Metadata.Namespace, name: m.Metadata.Name, topic: b.Topic(), group: "knative-trigger-" + m.Metadata.Namespace + "-" + m.Metadata.Name,
		wants: wants, policy: newPolicy(d), log: c.Log.With("trigger", m.Metadata.Name),
	}
	if t.subscriber, err = e.target(c, &m.Spec.Subscriber, m.Metadata.Namespace, e.brokers[key]); err != nil {
		return nil, err
	}
	if d != nil && d.DeadLetterSink != nil {
		if t.sink, err = e.target(c, d.DeadLetterSink, m.Metadata.Namespace, nil); err != nil {
			return nil, err
		}
	} else {
		c.Log.Error("a Trigger without a deadLetterSink: events that its subscriber refuses will be LOST, as in Knative", "trigger", t.name, "manifest", m.Pos.String())
	}
	t.consumer = kafka.NewConsumer(c.Brokers, t.topic, t.group, t.handle, kafka.ConsumerOptions{
		ClientID: t.group, InFlight: c.InFlight, Window: window, Drain: c.Drain, Start: kafka.StartNewest, Logger: t.log,
		Config: func(s *sarama.Config) {
			c.Security.Apply(s)
			s.Consumer.Fetch.Default = fetchBytes
		},
	})
	return t, nil
}

// target returns where a destination leads. replies is where answers that are events go, nil for nowhere.
func (e *Eventing) target(c Config, d *manifest.Destination, namespace string, replies *topicTarget) (target, error) {
	if key, is := d.Broker(namespace); is {
		b, ok := e.brokers[key]
		if !ok {
			at := d.Pos
			if d.Ref != nil {
				at = d.Ref.Pos
			}
			return nil, &manifest.Error{Pos: at, Message: fmt.Sprintf("there is no Broker %s", key)}
		}
		return b, nil
	}
	if d.Ref == nil {
		return &httpTarget{url: d.URI, transport: c.Transport, replies: replies}, nil
	}
	key := manifest.Key{Namespace: d.Ref.Namespace, Name: d.Ref.Name}
	if key.Namespace == "" {
		key.Namespace = namespace
	}
	address := "http://" + key.Name + "." + key.Namespace + ".svc.cluster.local"
	if _, is := d.JobSink(namespace); is {
		address = "http://" + manifest.JobSinkHost + "/" + key.Namespace + "/" + key.Name
	}
	base, err := url.Parse(address)
	if err != nil {
		return nil, &manifest.Error{Pos: d.Ref.Pos, Message: fmt.Sprintf("no address for %s: %v", key, err)}
	}
	if d.URI != "" {
		rest, err := url.Parse(d.URI)
		if err != nil {
			return nil, &manifest.Error{Pos: d.Pos, Message: fmt.Sprintf("uri: %v", err)}
		}
		base = base.ResolveReference(rest)
	}
	return &httpTarget{url: base.String(), transport: c.Transport, replies: replies}, nil
}

// Run delivers until ctx ends; then nothing new is begun, requests finish within the time for it, what is finished is committed, and Run returns nil. Events that
// wait for a retry are not committed, and come again. Kafka may be away at any time; only settings that cannot work end Run before.
func (e *Eventing) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, t := range e.triggers {
		group.Go(func() error { return t.consumer.Run(ctx) })
	}
	for _, p := range e.pings {
		group.Go(func() error {
			p.run(ctx)
			return nil
		})
	}
	group.Go(func() error {
		<-ctx.Done()
		return nil
	})
	err := group.Wait()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(err, e.producer.Close(closing))
}

// Status returns how each Trigger stands, in the order of namespace and name. It asks Kafka for the lag.
func (e *Eventing) Status() []TriggerStatus {
	all := make([]TriggerStatus, len(e.triggers))
	for i, t := range e.triggers {
		all[i] = t.status()
	}
	return all
}
