package main

import (
	"fmt"
	"strings"

	"millrace/functions/internal/gameday/internal/load"
	"millrace/shared/event"
)

// trip is an event that only its id tells apart; every 50th goes too far for its contract.
func trip(source string, i int) load.Event {
	distance := "2.5"
	if i%50 == 49 {
		distance = "62359"
	}
	return tripOf(source, fmt.Sprintf("trip/%d", i), i, distance)
}

func tripOf(source, id string, i int, distance string) load.Event {
	return load.Event{RootID: event.Identity(source, id), Body: fmt.Appendf(nil, `{"event_type":"YellowTaxiTripRecords","schema_version":"0-0-1","source":%q,"id":%q,"payload":{`+
		`"VendorID":2,"tpep_pickup_datetime":"2023-01-01T00:%02d:%02d","tpep_dropoff_datetime":"2023-01-01T00:40:36","passenger_count":1,`+
		`"trip_distance":%s,"RatecodeID":1,"store_and_fwd_flag":"N","PULocationID":%d,"DOLocationID":%d,"payment_type":2,"fare_amount":9.3,`+
		`"extra":1.0,"mta_tax":0.5,"tip_amount":0.0,"tolls_amount":0.0,"improvement_surcharge":1.0,"total_amount":14.3,"congestion_surcharge":2.5,"airport_fee":0.0}}`,
		source, id, i/60%30, i%60, distance, 1+i%260, 1+i*7%260)}
}

// poisonCodes are what the poisons come to, by stage.
var poisonCodes = []string{
	"collect missing_field", "collect unknown_field", "collect missing_source", "collect reserved_attribute", "collect invalid_attribute", "collect invalid_field", "collect too_large",
	"enrich contract_violation", "enrich unknown_contract", "load-search identity_conflict",
}

// view is a page view, in which search and lake find what they may choke on.
const view = `{"event_type":"PageView","schema_version":"0-0-1","source":%q,"id":%q,"payload":{"host":"example.com","method":"GET","url":%s,"status":%s,"visited_at":"2026-01-01T00:00:00Z"%s}}`

// poison is a trip, or one time in three a poison.
func poison(source string, i int) load.Event {
	if i%3 != 2 {
		return tripOf(source, fmt.Sprintf("trip/%d", i), i, "2.5")
	}
	id := fmt.Sprintf("poison/%d", i)
	known := func(format string, args ...any) load.Event {
		return load.Event{RootID: event.Identity(source, id), Body: fmt.Appendf(nil, format, args...)}
	}
	// What fails at the top level is given an identity by collect.
	unknown := func(format string, args ...any) load.Event {
		return load.Event{Body: fmt.Appendf(nil, format, args...)}
	}
	const head = `{"event_type":"PageView","schema_version":"0-0-1","source":%q,"id":%q,"payload":{}`
	switch i / 3 % 14 {
	case 0:
		return unknown(`{"schema_version":"0-0-1","source":%q,"id":%q,"payload":{}}`, source, id)
	case 1:
		return unknown(head+`,"colour":"red"}`, source, id)
	case 2:
		return unknown(`{"event_type":"PageView","schema_version":"0-0-1","id":%q,"payload":{}}`, id)
	case 3:
		return unknown(head+`,"extensions":{"rootid":"1"}}`, source, id)
	case 4:
		return unknown(head+`,"extensions":{"not a name":"1"}}`, source, id)
	case 5:
		return unknown(head+`,"time":"yesterday"}`, source, id)
	case 6:
		if i/3/14%4 > 0 { // few of these: one is most of what a request may weigh
			return tripOf(source, id, i, "1e5")
		}
		return unknown(view, source, id, `"/`+strings.Repeat("a", 950_000)+`"`, "200", "")
	case 7:
		return tripOf(source, id, i, "-1")
	case 8:
		return known(`{"event_type":"NoSuchThing","schema_version":"0-0-1","source":%q,"id":%q,"payload":{"a":1}}`, source, id)
	case 9: // another payload under the identity of the trip before it
		id = fmt.Sprintf("trip/%d", i-1)
		return tripOf(source, id, i, "3.5")
	case 10: // longer than an index's term may be
		return known(view, source, id, `"/`+strings.Repeat("b", 40_000)+`"`, "200", "")
	case 11: // deep, but not beyond the 512 levels at which collect calls a whole request unreadable
		return known(view, source, id, `"/deep"`, "200", `,"more":`+strings.Repeat(`[`, 450)+strings.Repeat(`]`, 450))
	case 12: // numbers, escapes and names that are JSON and little else
		return known(view, source, id, `"/\u0000\ud800\uffff"`, "200", `,"huge":1e999,"":"","a.b":{"a":1},"a":{"b":"x"}`)
	default: // many names
		var names strings.Builder
		for n := range 1500 {
			fmt.Fprintf(&names, `,"n%d_%d":%d`, i, n, n)
		}
		return known(view, source, id, `"/names"`, "200", names.String())
	}
}
