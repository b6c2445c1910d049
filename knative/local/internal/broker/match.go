package broker

import (
	"millrace/knative/local/internal/manifest"
	"millrace/shared/event"
)

// Matcher returns what says whether a Trigger's filters take an event, as it is delivered here. It does not change events and may be called concurrently. Errors carry file and line.
func Matcher(t *manifest.Trigger) (func(e *event.Event) bool, error) { return compileFilter(t) }
