// Package mask keeps personal data out of what many may look at: search documents and enriched lake rows. Which field is personal its contract says (classification, see
// [contract.Field.Masked]); raw events and dead letters in the lake are unmasked, in a bucket of their own.
//
// What becomes of a masked field's value:
//
//   - a string, also as an item of an array of strings, becomes its pseudonym (Key.Append): p_ and 32 hexadecimal digits, keyed with a key that neither search nor lake holds. Fields of the logical
//     types string and any (without a logicalType) have strings; a string in a masked field of another type is null, and so is anything but a string in a masked string.
//   - everything else becomes null: numbers, booleans, dates, times, timestamps, objects and arrays of those as a whole. A masked object hides what its fields say for themselves.
//   - null stays null.
//
// Names and types are those that the contract gave, so neither a mapping nor a column changes when a field's classification does; only text that search analysed (custom property
// search: text) is mapped as keyword, since a pseudonym has no words.
//
// It guarantees: of a value that is masked no byte reaches the output, however it is spelled (escapes), whatever is there in place of what the contract asks for, and as often as its name is there;
// what is shown keeps its bytes, in the producer's order, without white space. The same text has the same pseudonym under the same key, in every field of every type. A mask is
// compiled once for a MODEL; where nothing is masked there is none, and masking costs nothing.
//
// It does not: know which attributes are personal (see below), judge what a contract calls public, hide the length of an array, keep the key, or undo anything. A pseudonym
// is no anonymity: who has the key can try texts, and who sees many events of one pseudonym may tell who it is. Nor does it hide what can be guessed without the key from what stands beside a pseudonym:
// datahash is the plain SHA-256 of the whole payload as sent, and rootid that of source and id, so who sees all of a payload but one value of few possibilities (an IP address) can try these.
//
// # Decisions
//
// 2026-11-21, a pseudonym is of the value alone. Context: who counts people, or joins page views with orders, needs the same person to be the same in both; with the field or
// the type in the hash nothing joins. Decision: HMAC-SHA-256 over the decoded text alone, cut to 128 bits (two of a billion people collide with a chance of one in 10^21). Consequences: count
// distinct, group by and join work as they did; who knows one person's pseudonym finds it in every type; spelling counts ("Jane" and "jane" are two).
//
// 2026-11-21, what a contract does not name is not shown where it masks anything. Context: producers send members that no contract names (they are allowed), and search and lake kept them, the
// lake in _rescued. Beside personal fields such a member is "Email" for email, a map from people to something, or next month's field. Decision: in a payload and an enrichment of which any
// field is masked, in any version of the MODEL, members that no version names are left out, names and all, within objects that have fields; objects of unknown shape that the contract names are shown or
// hidden as classified. Consequences: such members are in raw alone until the contract names them, which takes one line, classified as public; contracts without masked fields
// keep showing everything.
//
// 2026-11-21, the strictest version of a MODEL counts. Context: a field becomes personal in a new version, and older producers go on. Decision: a field that any version that is known masks is masked in
// events of all of them. Consequences: to show a field again the versions that mask it must go, or the MODEL must change. What is in indexes and objects already stays as it was written:
// masking is no erasure.
//
// 2026-11-21, nothing is shown of what nobody has classified. Context: a function can meet an event whose contract's version it does not have; raw has the payload anyhow. Decision: such
// an event is shown by no other version's rules, since its own may be the first to call a field personal: see load-search (it waits, and then is a dead letter without its payload) and load-lake (it waits, and then is a
// row without it).
//
// 2026-11-21, attributes. Context: source, id, subject, partitionkey and a producer's own extensions are no fields of a contract; id and source name the event, everywhere. Decision: an
// id, subject, partition key (Kafka's key is one) or extension that is, as a whole, the text of a masked value of the same event is shown as its pseudonym; source and root id never
// change. Consequences: the frequent case, a partition key that is the user's e-mail address, is covered without a word in the contract; personal data that stands in an attribute alone, or as a part of
// it, is the producer's to leave out.
//
// 2026-11-21, one key. Context: keys are rotated. Decision: there is one at a time; a new one makes new pseudonyms of the same people. Consequences: counts across the day of a rotation count people
// twice; join within one key, or replay (raw has the texts): a replay replaces what search shows, and curation keeps the row of the highest replaycount. A key that got out lets its finder test guesses
// against what was written under it; rotation does not heal that.
package mask
