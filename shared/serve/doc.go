// Package serve is how events and requests come in over HTTP: [Events] gathers concurrent CloudEvent requests into batches for a
// [delivery.Handler], [Admission] bounds the memory that bodies take, and [Run] is the life cycle of a function's server.
//
// It guarantees: a body's bytes are admitted before they are held, and an answer that is not read is broken off; a request is answered by its own event's outcome and by nothing
// else, with an empty body; a handler's panic is a retry for all of its batch, not the end of the process
// ([delivery.Attempts] finds the one event whose fault it is); after the context ends, intake
// stops, what is in flight finishes, and the drain hooks run in order, each with a fresh deadline.
//
// It does not authenticate, does not terminate TLS, and has no order: events of one batch came in any order. It reads no
// environment and installs no signal handlers.
//
// # Decisions
//
// 2026-11-21, admission grows with the body. Context: the design takes a semaphore over decompressed bytes before the body is read, by
// Content-Length or else by the limit. With a limit of 16 MiB, three compressed requests of 1 KB would have filled it, and so would two
// connections that announce 16 MiB and send nothing. Decision: a body that is said to have at most 32 KiB is admitted whole before its first byte; any other
// piece by piece, each before it is held, at most twice what came, and refused with 503 when a piece finds no room, or at once where the room left is less than its
// announced length. zstd is admitted by the size its frame states, or else with its window. And a body must come: 5 s for the beginning, then 32 KiB a second, within ReadTimeout.
// Consequences: memory has the same bound (but for the copy from one piece to the next); a refused request may have been read in part; to hold the room takes as
// much traffic as it has bytes, or thousands of connections.
//
// 2026-11-21, an answer must be read. Context: two connections that sent 16 MB and read none of their receipts held all of collect's room for bodies, for good, since it
// was given back after the answer; and answers that nobody reads hold memory of their own. Decision: a handler gives back what it holds before it writes, which is
// its own business; [Run] gives every answer 10 s, and a second more for each 32 KiB, and bounds the bytes of those over 16 KiB. Beyond that bound the answer that has
// waited the longest is broken off; none is refused, since what was asked for is done by then. Consequences: whoever does not read is asked to come again, by a
// broken connection; a reader slower than 32 KiB a second loses large answers.
//
// 2026-11-21, a header may be as large as a record. Context: collect bounds an event's attributes at 32 KiB, but a Broker's ingress and other producers can
// write up to 1 MiB of them into a topic; a server that answers 431 makes Knative send such an event to the dead letter sink at once, which for the Trigger of
// events.dead is events.dead itself: the event went round hundreds of times a second. Decision: the server takes a header of 4 MiB, and large ones are admitted
// like bodies, after net/http has read them; functions that listen to the public set a limit of their own. Consequences: each such event gets its handler's
// outcome. Proxies between a Broker and a function on a cluster keep their own limits (Envoy 60 KiB, queue-proxy 1 MiB), which nothing here can lift.
//
// 2026-11-21, a batch waits only for requests that are there. Context: one handler shape serves HTTP and Kafka, and loaders want large
// batches, yet a lone request must not wait. Decision: a batch leaves when every open request is in it (nobody else could join), when it
// is full, or when its oldest event has waited MaxWait, and only while fewer than MaxConcurrentBatches are under way. Consequences: one
// client at a time pays no wait; under load the batches grow by themselves while earlier ones are written.
//
// 2026-11-21, an abandoned request's event is still handled, and its request answered. Context: a dispatcher that timed out will send it
// again; but net/http ends a request's context also where the client only closed its sending side, as TCP allows and some proxies do, and
// sends 200 for a handler that returns without a status. Decision: the event stays in its batch, and the request waits for its outcome whether or not
// its context ended. Consequences: slow stages make progress on what was sent twice instead of starting over (writes are repeatable
// anyway); a client that half-closes gets its event's own answer; a request costs its goroutine until its batch ends, at most Timeout after it began.
package serve
