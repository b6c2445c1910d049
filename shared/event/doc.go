// Package event holds what every function of Millrace agrees on about an event: its attributes, its identity, how it is
// read from and written to HTTP, what a dead letter is, and the closed list of failure codes.
//
// An event is a CloudEvent 1.0 ([Event] is the CloudEvents SDK's type). Its data is the producer's payload, byte for byte. The package
// guarantees that identity ([Identity], [Hash]) is a pure function of what the producer sent, so a retried send is the same event
// wherever and whenever it arrives. It does no input or output, and keeps no state.
//
// # Decisions
//
// 2026-11-21, own reader for the JSON event format. Context: the SDK's reader disagrees with the CloudEvents conformance suite
// on 5 of 43 cases, fails a whole batch for one bad event, skips over malformed JSON inside data, and takes a member that
// stands twice. Decision: [DecodeStructured] and [SplitBatch] read the format themselves on rawjson; binary mode goes through
// the SDK's HTTP binding after percent-decoding. Consequence: some 150 lines of ours, tested against the suite; extension values
// that are integers or booleans are kept as their canonical strings' types.
//
// 2026-11-21, structured data keeps its bytes. Context: the JSON format carries JSON data as a JSON value. Decision: the value's bytes as they
// stand in the envelope are the payload. Consequence: the same payload sent in binary and in structured mode has the same [Hash] where the
// producer wrote the same bytes.
//
// 2026-11-21, why a header is no CloudEvent is said in words of ours. Context: the SDK's errors quote the values of time and source, and become messages of dead letters, which are
// indexed and shown. Decision: [HeaderError] looks at the header again and names the attribute, for HTTP requests and Kafka records alike; [AddFromHeader] keeps as
// attributes what can be read. Consequence: a rare fault that it does not look for is told in general terms.
package event
