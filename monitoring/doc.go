// Package monitoring holds the alerts, alerts.yaml, and what to do about each, RUNBOOK.md; its tests hold both against the metrics that the functions have.
//
// # Decision 2026-11-21: plain Prometheus rules, in a directory of their own
//
// Context: the Prometheus operator takes rules as an object of its own kind, which `ko apply -f knative` would fail on where there is none. Decision: a plain rule file that Prometheus
// reads as it is; RUNBOOK.md has the line that wraps it. Consequences: nothing is applied unasked.
//
// # Decision 2026-11-21: PromQL is parsed by Prometheus, not here
//
// Context: Prometheus' parser comes with some hundred modules that nothing else here needs. Decision: the tests hold names, labels, values and the runbook, which change with this code; that the file is
// one that Prometheus loads was tried with its own package rulefmt, v0.303.0, and the expressions that are more than a threshold with its engine, on series that must and must not fire them. Whoever changes an
// expression tries again (`promtool check rules`).
package monitoring
