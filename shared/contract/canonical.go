package contract

import (
	"slices"
	"strconv"
	"strings"

	"millrace/shared/rawjson"
)

// canonical appends a form of the JSON value raw that equal values share, and unequal ones do not. raw was found valid.
func canonical(dst, raw []byte) []byte {
	w := walker{b: raw}
	return w.canonical(dst)
}

func (w *walker) canonical(dst []byte) []byte {
	w.space()
	switch c := w.b[w.i]; c {
	case '"':
		raw, fl, _ := w.scanString() // valid
		if fl.escaped {
			raw = unescape(nil, raw)
		}
		return rawjson.AppendString(dst, string(raw))
	case '[':
		dst = append(dst, '[')
		w.i++
		for w.space(); w.b[w.i] != ']'; w.space() {
			if w.b[w.i] == ',' {
				w.i++
				dst = append(dst, ',')
				continue
			}
			dst = w.canonical(dst)
		}
		w.i++
		return append(dst, ']')
	case '{':
		var members []string
		w.i++
		for w.space(); w.b[w.i] != '}'; w.space() {
			if w.b[w.i] == ',' {
				w.i++
				continue
			}
			member := w.canonical(nil)
			w.space()
			w.i++ // the colon
			members = append(members, string(w.canonical(append(member, ':'))))
		}
		w.i++
		slices.Sort(members)
		return append(append(append(dst, '{'), strings.Join(members, ",")...), '}')
	case 't', 'n':
		w.i += 4
		return append(dst, c)
	case 'f':
		w.i += 5
		return append(dst, c)
	default:
		end, _ := scanNumber(w.b, w.i) // valid
		dst = canonicalNumber(dst, w.b[w.i:end])
		w.i = end
		return dst
	}
}

// allDistinct compares JSON values as JSON Schema does: 1 and 1.0 are the same, and the order of members means nothing.
func allDistinct(items [][]byte) bool {
	seen := make(map[string]struct{}, len(items))
	for _, item := range items {
		key := string(canonical(nil, item))
		if _, ok := seen[key]; ok {
			return false
		}
		seen[key] = struct{}{}
	}
	return true
}

// canonicalNumber appends a spelling that equal numbers share.
func canonicalNumber(dst, raw []byte) []byte {
	d := split(raw)
	if d.big {
		if r, ok := rat(raw); ok {
			return append(append(dst, 'q'), r.String()...)
		}
		return append(dst, raw...) // beyond any double: equal only to itself
	}
	if d.mant == 0 {
		return append(dst, '0')
	}
	for d.mant%10 == 0 {
		d.mant /= 10
		d.exp++
	}
	if d.neg {
		dst = append(dst, '-')
	}
	dst = strconv.AppendUint(dst, d.mant, 10)
	return strconv.AppendInt(append(dst, 'e'), int64(d.exp), 10)
}
