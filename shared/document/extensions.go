package document

import (
	"millrace/shared/event"
	"millrace/shared/mask"
	"millrace/shared/rawjson"
)

// maxExtensions is how many bytes of names and values of a producer's own extensions a document holds. Collect takes up to 32 KiB of them, a Broker's own ingress more; what
// people search by (a trace's id) is short. All of them are in the lake.
const maxExtensions = 8 << 10

// appendExtensions adds the producer's own extensions, in the order of their names, as long as there is room for them.
func appendExtensions(b []byte, e *event.Event, shown *mask.Event) []byte {
	names := event.ForeignExtensions(e)
	if len(names) == 0 {
		return b
	}
	start, size, left := len(b), 0, false
	b = append(b, `,"extensions":{`...)
	first := len(b)
	for _, name := range names {
		value := shown.Attribute(event.Attr(e, name))
		size += len(name) + len(value)
		// A name that is none is refused by Knative too, and by Elasticsearch where it is blank.
		if size > maxExtensions || !event.ValidExtensionName(name) {
			size, left = size-len(name)-len(value), true
			continue
		}
		if len(b) > first {
			b = append(b, ',')
		}
		b = rawjson.AppendString(b, name)
		b = append(b, ':')
		b = rawjson.AppendString(b, value)
	}
	if len(b) == first {
		b = b[:start]
	} else {
		b = append(b, '}')
	}
	if left {
		b = append(b, `,"extensions_truncated":true`...)
	}
	return b
}
