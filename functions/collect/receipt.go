package main

import (
	"errors"
	"net/http"
	"strconv"

	"millrace/shared/delivery"
	"millrace/shared/rawjson"
)

// status is what a receipt says of an event.
type status string

const (
	accepted     status = "accepted"
	deadLettered status = "dead_lettered"
	busy         status = "busy"        // never handed to Kafka
	unconfirmed  status = "unconfirmed" // may still be written
)

// status of a candidate that was published. An error that is not known to come before the hand-over may follow on a write.
func (c *candidate) status() status {
	switch {
	case c.err == nil && c.code == "":
		return accepted
	case c.err == nil:
		return deadLettered
	case errors.Is(c.err, delivery.ErrBusy):
		return busy
	default:
		return unconfirmed
	}
}

// verdict is the HTTP status for a request's events: 503 as soon as one is not durable, else 200, 422 where all are dead letters, and
// 207 for a mixture. No events at all are a 200.
func verdict(candidates []candidate) int {
	dead, open := 0, false
	for i := range candidates {
		switch candidates[i].status() {
		case accepted:
		case deadLettered:
			dead++
		case busy, unconfirmed:
			open = true
		}
	}
	switch {
	case open:
		return http.StatusServiceUnavailable
	case dead == 0:
		return http.StatusOK
	case dead == len(candidates):
		return http.StatusUnprocessableEntity
	default:
		return http.StatusMultiStatus
	}
}

// Hints for what is not durable.
const (
	hintBusy        = "Send the event again, after the time in Retry-After."
	hintUnconfirmed = "Send the event again with the id and source of this receipt: it is the same event then, even if this one is still written."
)

// appendReceipts appends the body of an answer: a receipt per event, in order. raw and dead are the durability found of the two topics.
func appendReceipts(b []byte, candidates []candidate, raw, dead string) []byte {
	b = append(b, `{"receipts":[`...)
	for i := range candidates {
		c := &candidates[i]
		if i > 0 {
			b = append(b, ',')
		}
		s := c.status()
		b = append(b, `{"index":`...)
		b = strconv.AppendInt(b, int64(i), 10)
		b = appendMember(b, "id", c.id)
		b = appendMember(b, "source", c.source)
		b = appendMember(b, "root_id", c.rootID)
		b = appendMember(b, "status", string(s))
		switch s {
		case accepted:
			b = appendMember(b, "durability", raw)
		case deadLettered:
			b = appendMember(b, "durability", dead)
			b = appendMember(b, "code", string(c.code))
			b = appendMember(b, "message", c.message)
			b = appendMember(b, "hint", c.code.Hint())
		case busy:
			b = appendMember(b, "code", string(s))
			b = appendMember(b, "message", "Kafka did not take the event in time; it will not be written")
			b = appendMember(b, "hint", hintBusy)
		case unconfirmed:
			b = appendMember(b, "code", string(s))
			b = appendMember(b, "message", "Kafka did not confirm the event in time; it may still be written")
			b = appendMember(b, "hint", hintUnconfirmed)
		}
		b = append(b, '}')
	}
	return append(b, ']', '}', '\n')
}

func appendMember(b []byte, name, value string) []byte {
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	return rawjson.AppendString(b, value)
}
