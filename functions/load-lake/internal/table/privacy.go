package table

import (
	"millrace/shared/contract"
	"millrace/shared/event"
	"millrace/shared/mask"
	"millrace/shared/rawjson"
)

// privacy says what of an enriched event a row may show.
type privacy struct {
	key   *mask.Key
	mask  *mask.Mask      // nil where nothing is masked
	known map[string]bool // versions; none where no contract of the MODEL is known
}

func privacyOf(m contract.Model, key *mask.Key) privacy {
	p := privacy{key: key, mask: mask.Of(m), known: map[string]bool{}}
	for _, c := range m.Versions {
		p.known[c.Version] = true
	}
	return p
}

// shown is what of an event's data a row shows.
type shown struct {
	payload, enrichment []byte
	rest                []byte // data that is not an enriched event's
	withheld            string // why there is less than there was
}

const (
	withheldType    = "no contract is known that says what is personal"
	withheldVersion = "the contract of this version is not known, which says what is personal"
	withheldForm    = "the contract masks personal data, and this is no enriched event"
)

// show takes the row's data apart and masks it. Attributes of the row that say the same are masked as well.
func (p *privacy) show(r *row) (s shown) {
	var err error
	if s.payload, s.enrichment, err = event.SplitEnriched(r.payload); err != nil {
		s = shown{rest: r.payload}
	}
	known, withheld := p.known[string(r.attr[atVersion])], ""
	switch {
	case r.payload == nil, known && p.mask == nil:
		return s
	case len(p.known) == 0:
		return shown{withheld: withheldType}
	case !known:
		withheld = withheldVersion
	case err != nil:
		withheld = withheldForm
	}
	if err == nil && p.mask != nil { // also for the attributes of what is withheld
		e := p.mask.Event(p.key)
		s.payload = e.Payload(nil, s.payload)
		if s.enrichment != nil {
			s.enrichment = e.Enrichment(nil, s.enrichment)
		}
		r.hide(e)
	}
	if withheld != "" {
		return shown{withheld: withheld}
	}
	return s
}

// hide masks the attributes that e says.
func (r *row) hide(e *mask.Event) {
	for _, i := range []int{atID, atSubject, atKey} {
		r.attr[i] = hidden(e, r.attr[i])
	}
	r.key = hidden(e, r.key)
	if len(r.extensions) == 0 {
		return
	}
	before := wrap('{', r.extensions, '}')
	r.extensions = r.extensions[:0]
	// What was written here is valid.
	_ = rawjson.Members(before, func(name string, value []byte) error {
		text, _ := rawjson.Unquote(value)
		r.extend(name, []byte(e.Attribute(text)))
		return nil
	})
}

func hidden(e *mask.Event, text []byte) []byte {
	if len(text) == 0 {
		return text
	}
	if s := e.Attribute(string(text)); s != string(text) {
		return []byte(s)
	}
	return text
}
