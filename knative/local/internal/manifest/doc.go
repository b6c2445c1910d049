// Package manifest reads the Kubernetes and Knative YAML files that are applied to a cluster, so that the very same files run
// on one machine.
//
// It guarantees that nothing in a file is overlooked: a kind, a field, an annotation of Knative's autoscaler or a value that
// this package does not know is an error with file and line and a suggestion, never a difference in behaviour that nobody
// sees. All errors of all files are reported together. Strings are read as the cluster reads them: an unquoted number, boolean
// or YAML 1.1 word such as "yes" in the place of a string is an error here, because it is one there.
//
// Fields which have no effect on one machine are known by name and have the type [Ignored]: securityContext, resources,
// serviceAccountName, nodeSelector, tolerations, affinity, imagePullPolicy, livenessProbe, startupProbe, the timing fields of
// readinessProbe, and a few more; see the struct definitions.
//
// It does not check what only a cluster can know (quotas, admission, feature flags), has no defaulting webhooks beyond the
// defaults named at each field, and resolves no references by itself: [Set.Check] does.
//
// # 2026-11-21: a reflective decoder of our own instead of Kubernetes' types
//
// Context: k8s.io/api and knative.dev/serving bring some 40 MB of source and know hundreds of fields of which this platform
// runs a few dozen; decoding into them would accept everything that it does not run. yaml.v3's KnownFields reports unknown
// fields without their path, stops at the first, and coerces scalars to strings.
//
// Decision: structs that hold exactly what is run or knowingly ignored, and a small decoder over yaml.Node.
//
// Consequences: a new field in a manifest needs a line here, which is the point. Merge keys (<<) are refused.
package manifest
