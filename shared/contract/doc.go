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
// # classification
//
// The standard leaves the words free. Here public, internal and none at all show a field in search and lake, whatever their case; every other word (personal, confidential, restricted, sensitive, ...; also one that is
// misspelled) masks it there, as package mask says: a text becomes a keyed pseudonym, all else null ([Field.Masked]). Checks, lookups and raw events see the value as it is.
//
//   - An object or array that is masked hides all that it holds, whatever its own properties say; classification on the schema's object is that of all its fields.
//   - A field of the enrichment without a classification has that of the key by which a step finds it: the town of a person is the person's unless the file says public.
//   - In a contract that masks anything, members that it does not name are not shown. Attributes have no classification: source and id name an event; an id, subject, partitionkey or extension
//     that is the very text of a masked field is shown as its pseudonym.
//   - Within a MODEL the strictest version counts, for events of all of them, and neither names nor types change with a classification.
//   - Quality rules of curation see what the lake shows: a rule on the texts of a masked field (a pattern, a length) fails there.
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
// # Quality rules
//
// They are the standard's, and package quality of functions/curate says how each is run. Beside the standard's arguments, invalidValues takes minimum, maximum, exclusiveMinimum, exclusiveMaximum,
// minLength and maxLength. Custom properties of a rule:
//
//   - blocking, true or false: whether a day that fails is held back from the facts. Without it rules of severity error do that, and no others.
//   - flag, true, of a duplicateValues rule: the rows that share these values are written to ops.near_duplicates, group by group. They stay in all tables.
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
// 2026-11-21: a file that is wrong holds back its own events, and nothing else. Context: one file that was wrong kept every function from starting, and changes of all
// other files from being used; yet a type whose contract is missing makes dead letters of good events. A file is wrong where it cannot be read or parsed, where it
// contradicts another (two for one version, a field of two types within a MODEL, types that differ in case alone), and where the function that uses it cannot (a lookup in
// a table that is not there). Decision: a set is made of what is valid, and names the rest ([Set.Invalid]: which file, what is wrong where, what happens meanwhile, what to
// do), at the start as later. While a file is wrong, what was taken from it before stays in use, and so does an embedded contract that was in use in its place. Where
// there is nothing in use, as at a start, events of the type and version that the file says it is for wait ([Set.Held]: 503, nothing counted, no dead letter), and an
// embedded contract whose place it was to take is not used, since it would judge them by other rules. Type and version are read as leniently as possible, out of text that
// is no YAML too; a file that does not even say its type holds nothing back, for it would be every unknown type. Of two that contradict each other the
// one in use stays (the embedded one, else the first by name, where none is). provision refuses wrong files, since whoever runs it can mend them.
// Consequences: an operator's slip never makes a dead letter out of an event that a mended file would take, and mending it needs no replay. Events that wait take a
// Trigger's in-flight slots (50 to 99) and are given up after its retries (five and a half hours, delivery_exhausted, replay's default), so a busy type whose file is wrong slows
// the others down once all pods have been started anew (straight from Kafka they hold up nothing but their own keys, up to MAX_WAITING_EVENTS): millrace_contract_files_invalid above 0 is an alarm. Taking the file away ends the wait: its events become
// dead letters unknown_contract. Two pods can disagree while a file is wrong: the one that runs has what it had, the one that starts has not.
//
// 2026-11-21: a contract's status decides guesses alone. Context: the standard has proposed, draft, active, deprecated and retired, and the design speaks of status only for events that name
// no version: they are held against the type's one active contract. Decision: an event that names a version (by schemaversion, or dataschema) is held against that contract whatever its status is, as
// long as the file is there. Consequences: a draft can be tried on real traffic by its version; retiring a version by its status stops guesses and refuses no producer that still sends it, and events
// that are replayed keep passing; to refuse a version take its file away, and its events are dead letters unknown_contract; an embedded one can be replaced and not taken away.
//
// 2026-11-21: a classification that nobody knows masks. Context: the standard's classification is any text, organisations have scales of their own ("C3", "restricted"), and a slip of the pen
// ("publc") must go somewhere: refuse the file, show the field, or mask it. Decision: mask. Consequences: no event waits for a word and nothing is shown by mistake; a field that was to be shown is seen to be
// masked in search at once, and mended by its word.
//
// 2026-11-21: the check is written by hand and walks the bytes once. Context: decoding a taxi trip into any takes 61 allocations before the first
// rule is looked at, and loses duplicate names and the spelling of numbers. Decision: a compiled tree of fields and one pass, which also
// picks the keys of the steps. Consequences: grammar and rules are ours to get right; a property test holds them against an
// independent JSON Schema implementation through [Contract.JSONSchema], and a fuzz test against encoding/json.
package contract
