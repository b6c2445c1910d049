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
package event
