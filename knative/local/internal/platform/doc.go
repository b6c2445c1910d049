// Package platform assembles one machine's Knative: it reads the manifests, builds the functions, starts the embedded servers, and
// runs functions, event delivery and the gateway until it is told to stop.
//
// Start order: lock, ports, build, embedded Kafka, object storage, search, the provision job to its end, the file env, functions, dispatchers,
// gateway, feed. Stop order is the reverse, each part after those that use it: the gateway takes nothing new and finishes, event
// delivery ends, functions finish and end, the servers close, Kafka last. A second wish to stop kills what still runs.
//
// It guarantees one process per directory (a lock that dies with the process), that no port is taken from another program, and
// that functions get the variables of their manifests, which win over every other. Different from a cluster are, in the ConfigMap millrace and the Secrets millrace-s3, millrace-search,
// millrace-catalog and millrace-mask, the addresses and credentials of the servers, the key to mask personal data with (the directory's own, in the file mask-key, made at the first start), and ALLOW_FEWER_REPLICAS and CONTRACTS. Beside the manifests' variables there are those that every process of this machine
// needs (PATH, HOME, proxies and certificates), and TMPDIR, HOSTNAME, LISTEN_HOST, LOG_FORMAT=text, HTTP_PROXY, NO_PROXY and ko's KO_DATA_PATH. No limit of a container holds
// here, and none is made up: GOMEMLIMIT and GOGC are the manifests', so that what runs here is what is deployed.
//
// While it runs, the file env in its directory has the variables for commands in other shells, readable for its owner alone: what functions have of the ConfigMap and the Secrets, but for the key to mask with, so
// also a real server's credentials as they were given, and COLLECT_URL.
//
// A Deployment is one process that runs from the start to the end, and again after a failure; nothing sends it requests, and it has no K_ variables.
//
// A CronJob's process runs to its end once in Config.Cron, whatever its schedule, for the first time that long after the start. A run that is due while the last one is at work is left out (its concurrencyPolicy
// must be Forbid), one that fails is told and runs again when it is due, activeDeadlineSeconds holds, and the platform's end ends a run by SIGTERM while the servers still answer it. One whose image .ko.yaml
// builds with CGO_ENABLED=1 is left out where there is no C compiler, and a line says so.
//
// It does not deliver events and holds no data itself: [Parts] are the embedded servers and dispatchers, each in a package of its
// own that knows nothing of this one.
//
// # 2026-11-21: the cluster's names by HTTP_PROXY
//
// Context: manifests name functions and Brokers by http://NAME.NAMESPACE.svc.cluster.local, which no DNS here knows, and rewriting
// values of variables would miss those that are built from parts and change what is under test.
//
// Decision: an HTTP proxy on a loopback port routes such names; each process gets HTTP_PROXY. It sends other plain HTTP requests on,
// and the hosts of real servers are in NO_PROXY. Go's client never uses a proxy for loopback addresses, which the embedded servers have.
//
// Consequences: clients that ignore HTTP_PROXY cannot use names of the cluster; a function's own HTTP_PROXY in its manifest wins.
package platform
