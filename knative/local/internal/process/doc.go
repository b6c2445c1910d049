// Package process runs functions and jobs as processes of this machine, as Knative Serving and Kubernetes run them as pods.
//
// A [Function] starts its process at the first request, holds requests until the process is ready, passes them on with
// streaming bodies, and stops the process when it was idle for its window. It guarantees that
//
//   - a function has at most one process at any time: scaling out is not run here, and a new process waits for the end of the old;
//   - the process gets SIGTERM for being idle only when no request is in flight, and SIGKILL only after the grace period;
//   - an answer is the process's own, whole, or it is an error: a process that dies before its answer is an error to the caller
//     (502 at the gateway), one that dies within it is an aborted body;
//   - no request is sent twice by this package;
//   - on Linux a process dies with this one, SIGKILL included; elsewhere a SIGKILL of this process leaves them behind.
//
// Readiness is asked for until it is true the first time; later a process is taken for ready until it ends, since a function's
// readiness turns false only while it drains. A process that ends by itself is started again by the next request, or at
// once where min-scale is 1 or more; both wait for a backoff that doubles while it keeps ending within a minute.
//
// A [RunJob] runs a process to its end and again when it failed, up to its backoffLimit.
//
// Windows is not supported: there are no process groups with signals.
package process
