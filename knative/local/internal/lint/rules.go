package lint

// Code names a rule. The codes are a closed list: scripts may depend on them.
type Code string

// The codes, in the order of [Rules].
const (
	DeadLetterDropped     Code = "dead-letter-dropped"
	DeadLetterMissing     Code = "dead-letter-missing"
	DeadLetterLoop        Code = "dead-letter-loop"
	RetriesDropped        Code = "retries-dropped"
	OutageLonger          Code = "outage-longer"
	TimeoutAboveService   Code = "timeout-above-service"
	ReplyLoop             Code = "reply-loop"
	MixedFilter           Code = "mixed-filter"
	IgnoredField          Code = "ignored-field"
	SourceWithoutGroup    Code = "source-without-group"
	SourceWithoutDelivery Code = "source-without-delivery"
	SourceWithoutOrdering Code = "source-without-ordering"
	AsleepForGood         Code = "asleep-for-good"
	ScalerOfNothing       Code = "scaler-of-nothing"
	ScalerElsewhere       Code = "scaler-elsewhere"
	NoReceiver            Code = "no-receiver"
	NoReader              Code = "no-reader"
	BadAnnotation         Code = "bad-annotation"
)

// Rule is what is looked for, and why.
type Rule struct {
	Code Code
	// Trap is the fault in one sentence.
	Trap string
	// Why is what it costs.
	Why string
}

// Rules returns all rules there are.
func Rules() []Rule {
	return []Rule{
		{
			DeadLetterDropped, "A Trigger has a delivery without a deadLetterSink, and its Broker has one.",
			"A Trigger's delivery replaces its Broker's whole: nothing is inherited, and what is given up after the last retry is dropped.",
		},
		{
			DeadLetterMissing, "Neither a Trigger nor its Broker has a deadLetterSink.",
			"What the subscriber refuses, or does not take within all retries, is dropped with a line in the dispatcher's log.",
		},
		{
			DeadLetterLoop, "The dead letters of a Trigger go to the Broker that it takes its events from, and its filter takes them again.",
			"An event that can never pass goes round for ever: each time through all retries, in one of the few places for events in flight.",
		},
		{
			RetriesDropped, "A Trigger has a delivery without retry, and its Broker retries.",
			"A Trigger's delivery replaces its Broker's whole: the first 503, of a deployment say, makes a dead letter of an event that was good.",
		},
		{
			OutageLonger, "All waits between retries together are shorter than the outage that is to be survived.",
			"While the subscriber's dependency is away longer than that, every event becomes a dead letter, or is dropped.",
		},
		{
			TimeoutAboveService, "A delivery waits longer for an answer than the Knative Service that it asks may take.",
			"Knative ends the request at the Service's timeoutSeconds (300 where none is said) with 504: the delivery's timeout has no effect, and the work is cut and repeated.",
		},
		{
			ReplyLoop, "What a function answers, or sends to its SINK, comes back to it by its own Trigger.",
			"One event goes round for ever, and every round is a new event in the topic.",
		},
		{
			MixedFilter, "A filter speaks two dialects: filter beside filters, or several dialects in one entry of filters.",
			"With filters, filter is not looked at and filters nothing; the entry is refused by the API server, or one of its dialects wins where the webhook is away.",
		},
		{
			IgnoredField, "A field or annotation that this class of Broker or source does not know.",
			"It is accepted, stored, and has no effect: whoever reads the manifest relies on what does not happen.",
		},
		{
			SourceWithoutGroup, "A KafkaSource without consumerGroup.",
			"A group of a random name is made: a source that is made again starts at the topic's end (or, with initialOffset earliest, at its beginning), and nobody can set its offsets beforehand.",
		},
		{
			SourceWithoutDelivery, "A KafkaSource without delivery, or without its deadLetterSink.",
			"It retries ten times, about ten minutes in all, then drops the record and goes on.",
		},
		{
			SourceWithoutOrdering, "A KafkaSource that does not say its ordering.",
			"It is ordered: one record of each partition at a time, each waiting behind the retries of the one before, some hundred a second at most. Whoever wants that says so.",
		},
		{
			AsleepForGood, "A function takes its events from Kafka, may have no pod, and nothing scales it by lag.",
			"A Knative Service wakes for requests, and Kafka sends none: once it sleeps, events are left lying with all pods healthy.",
		},
		{
			ScalerOfNothing, "A ScaledObject whose target is not there, or is a Knative Service, which cannot be scaled.",
			"KEDA marks it not ready and scales nothing: a target at zero stays there.",
		},
		{
			ScalerElsewhere, "A ScaledObject whose Kafka triggers watch another group, or not all topics, of what its target's INTAKE reads.",
			"Lag that nobody watches wakes nobody: the function sleeps on its events, and the scaler looks healthy.",
		},
		{
			NoReceiver, "A sink, subscriber, reply, deadLetterSink or Broker names an object that is not among these manifests.",
			"The object that refers is never ready, or its events are answered 404, retried and given up.",
		},
		{
			NoReader, "A function's sink is a topic, or a destination is a Broker, that nothing reads.",
			"Events are taken, acknowledged, and lie there until their retention ends.",
		},
		{
			BadAnnotation, "An annotation of this linter that is unknown, has no reason, cannot be read, or hides nothing.",
			"An exception without a reason cannot be judged later, and one that hides nothing today hides the next fault.",
		},
	}
}

func known(code Code) bool {
	for _, r := range Rules() {
		if r.Code == code {
			return true
		}
	}
	return false
}

func why(code Code) string {
	for _, r := range Rules() {
		if r.Code == code {
			return r.Why
		}
	}
	return ""
}
