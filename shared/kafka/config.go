package kafka

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"millrace/shared/delivery"
)

// MaxMessageBytes is the largest record that our producers send, below the topics' max.message.bytes ([TopicMaxMessageBytes]). An event has at
// most 900,000 bytes at collect and grows by 64 KiB in enrich, and by its failure attributes.
const MaxMessageBytes = 1_000_000

// TopicMaxMessageBytes is max.message.bytes of the topics that provision makes.
const TopicMaxMessageBytes = 1_048_576

// NewConfig returns the settings that all clients share. sarama's defaults lose data: these wait for all in-sync replicas,
// never reorder or double by retrying, ride over a broker's restart, and place keys as Java's producers do.
func NewConfig(clientID string) *sarama.Config {
	c := sarama.NewConfig()
	c.ClientID = clientID
	c.Version = sarama.V2_8_0_0
	c.Net.MaxOpenRequests = 1
	c.Net.DialTimeout = 5 * time.Second
	c.Metadata.Retry.Max = 40
	c.Metadata.AllowAutoTopicCreation = false

	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Idempotent = true
	c.Producer.Retry.Max = 100
	c.Producer.Return.Successes = true
	c.Producer.Return.Errors = true
	c.Producer.Compression = sarama.CompressionZSTD
	c.Producer.CompressionLevel = 1 // the batches are small, and made by the thousand
	c.Producer.MaxMessageBytes = MaxMessageBytes
	c.Producer.Partitioner = sarama.NewMurmur2Partitioner

	c.Consumer.Return.Errors = false
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.IsolationLevel = sarama.ReadCommitted
	return c
}

// ParseURL reads an intake's or sink's URL: kafka://broker:9092,broker:9092/topic. Where the host is left out (kafka:///topic) the brokers are defaultBrokers.
func ParseURL(u string, defaultBrokers []string) (brokers []string, topic string, err error) {
	rest, ok := strings.CutPrefix(u, "kafka://")
	if !ok {
		return nil, "", errors.New("it is no kafka:// URL") // not quoted: it can hold a password, as an address of another kind
	}
	hosts, path, _ := strings.Cut(rest, "/")
	if strings.Contains(hosts, "@") {
		return nil, "", errors.New("a user and a password are no part of it: KAFKA_USER and KAFKA_PASSWORD_FILE name them")
	}
	path, _, _ = strings.Cut(path, "?")
	topic, err = url.PathUnescape(path)
	if err != nil || topic == "" || strings.Contains(topic, "/") {
		return nil, "", errors.New("it names no topic: kafka://broker:9092/topic")
	}
	if brokers = SplitBrokers(hosts); len(brokers) == 0 {
		brokers = defaultBrokers
	}
	if len(brokers) == 0 {
		return nil, "", errors.New("it names no brokers, and KAFKA_BROKERS is empty")
	}
	return brokers, topic, nil
}

// Subscription is what an intake's URL says.
type Subscription struct {
	Brokers []string
	Topics  []string
	Group   string
	Start   Start // of a group that has committed nothing
	// Static says that the member should keep its place when it is started anew under the same name ([IntakeOptions].Instance).
	Static bool
	// Security is how the brokers are reached, which no URL says.
	Security Security
}

// ParseIntakeURL reads an intake's URL: kafka://broker:9092,broker:9092/topic,topic?group=name, optionally &start=newest (else oldest) and
// &member=static (else dynamic). Where the host is left out the
// brokers are defaultBrokers.
func ParseIntakeURL(u string, defaultBrokers []string) (s Subscription, err error) {
	var list string
	if s.Brokers, list, err = ParseURL(u, defaultBrokers); err != nil {
		return Subscription{}, err
	}
	for topic := range strings.SplitSeq(list, ",") {
		if topic = strings.TrimSpace(topic); topic == "" || slices.Contains(s.Topics, topic) {
			return Subscription{}, fmt.Errorf("%q names an empty topic, or one twice", u)
		}
		s.Topics = append(s.Topics, topic)
	}
	_, query, _ := strings.Cut(u, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return Subscription{}, fmt.Errorf("%q: %w", u, err)
	}
	for name, v := range values {
		switch {
		case len(v) != 1:
			return Subscription{}, fmt.Errorf("%q says %s %d times", u, name, len(v))
		case name == "group":
			s.Group = v[0]
		case name == "start" && v[0] == "newest":
			s.Start = StartNewest
		case name == "start" && v[0] == "oldest":
		case name == "member" && v[0] == "static":
			s.Static = true
		case name == "member" && v[0] == "dynamic":
		default:
			return Subscription{}, fmt.Errorf("%q: %s=%s is not known; group=name, start=oldest, start=newest, member=static and member=dynamic are", u, name, v[0])
		}
	}
	if s.Group == "" {
		return Subscription{}, fmt.Errorf("%q names no group: kafka://broker:9092/topic?group=name", u)
	}
	return s, nil
}

// SplitBrokers splits a list host:port,host:port and leaves out empty parts.
func SplitBrokers(list string) []string {
	var brokers []string
	for b := range strings.SplitSeq(list, ",") {
		if b = strings.TrimSpace(b); b != "" {
			brokers = append(brokers, b)
		}
	}
	return brokers
}

// Errors of [Sink.Publish].
var (
	// ErrBusy: the event was never handed to Kafka, and will not be written.
	ErrBusy = delivery.ErrBusy
	// ErrUnconfirmed: the event was handed to Kafka and may still be written.
	ErrUnconfirmed = delivery.ErrUnconfirmed
	// ErrTooLarge: the event is larger than Kafka may take; it will not be written.
	ErrTooLarge = delivery.ErrTooLarge
	// ErrNotCloudEvent: a record is no CloudEvent.
	ErrNotCloudEvent = errors.New("not a CloudEvent")
)
