// Package contract reads data contracts and holds payloads against them. One file of the Open Data Contract Standard (ODCS) v3.1 describes
// one event type in one version; from it come the check in enrich, the Elasticsearch mapping, the lake's columns, the
// classification of fields, quality rules and service levels, and the enrichment steps.
//
// # The file
//
// The standard's keys are used wherever it has one, and decoding refuses keys that it does not have. Where it has none, custom properties are:
//
//   - version is semver MODEL.REVISION.ADDITION: 0.0.1 is the event attribute schemaversion 0-0-1.
//   - custom property eventType of the contract: the event type.
//   - schema has one object for the payload, under any name, and at most one called enrichment for what the steps add.
//   - custom property enrichmentSteps of the contract: a list of steps, each a name and a lookup with table, column, key (a JSON
//     pointer into the payload), fields (name in the enrichment: column of the table) and onMissing, "null" or "fail".
//   - custom properties of a property: enum, a list of allowed strings or integers; additionalProperties, false to close an object;
//     search, "text" for analysed text or "none" for no index.
//   - logicalType number with physicalType decimal(p,s) is an exact number. A property without logicalType takes any JSON value.
//
// A contract's URI is urn:millrace:contract:<event type>:<version>, and its enriched form's has "/enriched" behind it.
//
// # What Check holds a payload against
//
//   - The payload is one JSON object in UTF-8 with no member name twice, anywhere, and no half surrogate pair: search and lake refuse
//     or damage those. Members that the contract does not name are allowed unless their object is closed, but not under every name: see below.
//   - In the payload itself, and in objects of which the contract names fields, the name of a member that it does not name is not blank, has no
//     blank part between dots (".", "a..b"), and does not begin with the name of a field and a dot ("host.x" where host is a field). Within
//     parts that the contract does not describe any name passes.
//   - required means there and not null; other fields may be absent or null.
//   - integer is any spelling of a whole number within 64 bits (1, 1.0, 1e0), as in JSON Schema, or within its format's bits. The standard's
//     default format i32 is not applied. number is a finite double, and limits are compared as doubles.
//   - date, time and timestamp are ISO 8601 as RFC 3339 narrows it, with T and at most nine digits of a fraction, or as the option format says.
//     timezone: true asks for Z or +hh:mm; timezone: false refuses them; where the file does not say, a timestamp without an offset is UTC.
//   - minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf, minLength, maxLength (code points), pattern (RE2, unanchored),
//     minItems, maxItems, uniqueItems, minProperties, maxProperties. The string formats uuid, email, uri, hostname, ipv4, ipv6, byte
//     and binary (base64) are checked; others are notes.
//   - quality rules are kept (Contract.Quality) and never enforced here: they are curation's.
//
// The time of Check grows linearly with the payload, except for uniqueItems (sorting); nothing in the payload can make it panic.
// It reads no files and no network; [Open] does.
//
// # Decisions
//
// 2026-11-21: local timestamps refuse an offset. Context: TLC trips carry New York wall clock; some producers add Z out of habit. Decision: a
// field is either wall clock or instant, never both. Consequences: the lake's column has one meaning, and Elasticsearch, which reads a
// text without offset as UTC, never mixes the two in one field; a producer that adds Z gets a dead letter that says so.
//
// 2026-11-21: some names of unknown members are violations. Context: Elasticsearch (8.19) takes names apart at their dots even under dynamic: false; it
// refuses a document with a blank part in a name, and one where the part before a dot is a field that is no object, while "o.x" is indexed as
// the field x of o without having been checked. Such an event passed enrich and was a dead letter search_rejected only behind the lake.
// Decision: the check refuses these names, of any field and not only of scalar ones, so that the rule is short; a trailing dot and some blanks that
// Elasticsearch would take are refused as well. Consequences: the producer is told by the contract's rules; JSON Schema says it with patternProperties; a
// producer that flattens {"geo":{"lat":1}} to "geo.lat" must not do so where geo is a field of its contract.
//
// 2026-11-21: the check is written by hand and walks the bytes once. Context: decoding a taxi trip into any takes 61 allocations before the first
// rule is looked at, and loses duplicate names and the spelling of numbers. Decision: a compiled tree of fields and one pass, which also
// picks the keys of the steps. Consequences: grammar and rules are ours to get right; a property test holds them against an
// independent JSON Schema implementation through [Contract.JSONSchema], and a fuzz test against encoding/json.
package contract
