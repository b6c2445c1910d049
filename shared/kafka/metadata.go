package kafka

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxMetadata is how long a commit's metadata may be, beside its stamp, where the broker's offset.metadata.max.bytes is the default, 4,096.
const maxMetadata = 4096 - stampRoom

// metadataVersion begins the metadata of our commits; what begins otherwise is somebody else's, and ignored.
const metadataVersion = "millrace1 "

// failure is what is kept of an event that failed and is unfinished.
type failure struct {
	offset   int64
	attempts int
	first    time.Time // to the second
}

// encodeFailures returns what a commit of position says of the events that fail: offset (as the distance from position), attempts and time of the first failure, in
// base 36. Where limit bytes do not hold all, those that failed least often, and of them the newest, are left out: they are tried more often than they need be.
func encodeFailures(position int64, failures []failure, limit int) string {
	if len(failures) == 0 || limit < len(metadataVersion) {
		return ""
	}
	slices.SortFunc(failures, func(a, b failure) int {
		return cmp.Or(cmp.Compare(b.attempts, a.attempts), cmp.Compare(a.offset, b.offset))
	})
	b := append(make([]byte, 0, limit), metadataVersion...)
	for _, f := range failures {
		before := len(b)
		if before > len(metadataVersion) {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, f.offset-position, 36)
		b = strconv.AppendInt(append(b, '.'), int64(f.attempts), 36)
		b = strconv.AppendInt(append(b, '.'), f.first.Unix(), 36)
		if len(b) > limit {
			b = b[:before]
			break
		}
	}
	if len(b) == len(metadataVersion) {
		return ""
	}
	return string(b)
}

// decodeFailures is the inverse of encodeFailures, by offset. Metadata that are not ours hold nothing.
func decodeFailures(position int64, metadata string) (map[int64]failure, error) {
	list, ok := strings.CutPrefix(metadata, metadataVersion)
	if !ok {
		return nil, nil
	}
	out := map[int64]failure{}
	for entry := range strings.SplitSeq(list, ",") {
		var n [3]int64
		parts := strings.Split(entry, ".")
		if len(parts) != len(n) {
			return nil, fmt.Errorf("metadata of a commit: %d parts in an entry", len(parts))
		}
		for i, part := range parts {
			var err error
			if n[i], err = strconv.ParseInt(part, 36, 64); err != nil || n[i] < 0 {
				return nil, fmt.Errorf("metadata of a commit: part %d of an entry is no number", i)
			}
		}
		offset := position + n[0]
		out[offset] = failure{offset: offset, attempts: int(min(n[1], 1000)), first: time.Unix(n[2], 0)}
	}
	return out, nil
}
