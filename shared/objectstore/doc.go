// Package objectstore is Millrace's view of an S3-compatible bucket: whole objects in, whole objects out (from and to memory or files), parts of objects out, a conditional
// write, and a listing that starts behind a key.
//
// It guarantees: one Put is one HTTP PUT of the whole body, signed over the SHA-256 of its content, so that an object is
// there complete or not at all; PutIfAbsent never replaces an object on a store that honours If-None-Match (CheckConditional
// proves that, and provision refuses a store that fails it); a missing object is ErrNotFound and nothing else is, in
// particular not a missing bucket; every other error is an outage or a misconfiguration and may be retried.
//
// It does not: split bodies into parts, cache, log, or know what the objects mean.
//
// # Decision 2026-11-21: single PUTs without trailing headers
//
// Context: `If-None-Match: *` is only sure for single PUTs, versitygw does not take trailing checksums, and minio-go by
// default cuts large bodies into parts and signs plain-HTTP bodies chunk by chunk. Decision: bodies are byte slices, the
// content's SHA-256 is computed once here and sent as x-amz-content-sha256. Consequences: an object is limited by memory
// (callers bound theirs; PutFile, which reads a file twice, is not) and by S3's 5 GiB for one PUT; a body damaged on the way is refused by the store.
//
// # Decision 2026-11-21: PUTs are repeated here, not by minio-go
//
// Context: minio-go repeats a request by seeking back the reader that its transport may still be reading, where the store answered before it had
// the whole body (the race detector found it; the content's hash would have made the store refuse the mixture). Decision: each attempt has a
// reader of its own. Consequences: a loop of ours, with a linear pause of 200 ms.
//
// # Decision 2026-11-21: ErrExists says nothing about whose object it is
//
// Context: a PUT whose answer was lost is sent again by the HTTP client, and the second one is refused because the first
// one succeeded. Decision: PutIfAbsent returns ErrExists in that case too, and the caller reads the object and compares.
// Consequences: bodies written with PutIfAbsent must tell their writer (the landing log's entries carry the drain's id).
//
// # Decision 2026-11-21: errors say what the store answered
//
// Context: minio-go's errors hold the store's message, often without status or code, and where the time ends between two attempts only the timeout, so that
// a full disk read as one. Decision: every refusal (4xx, 5xx) is noted on its way through the transport, and an error says status, code and message of the last one.
// Consequences: bodies of refusals, some hundred bytes, are read here first.
//
// # Decision 2026-11-21: a certificate authority by file
//
// Context: a store in a cluster has certificates of an authority of its own, and the system's could only be replaced for a whole process (SSL_CERT_FILE), at its start. Decision: Config.CA (S3_CA) names a file that is
// read at each new connection; an error of a certificate says whose it is, from when to when it is valid, and by which file it was checked (package certificate). Consequences: as with
// ELASTICSEARCH_CA, open connections live on.
package objectstore
