package quality

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/apache/iceberg-go"

	"millrace/shared/contract"
)

const (
	exactDistinct = 20_000 // rows up to which distinct values are counted one by one
	sampleRows    = 20_000 // rows that quantiles are taken from
	bins          = 10     // of a histogram
	fewValues     = 20     // distinct numbers up to which each has a bin of its own
	manyValues    = 10_000 // distinct texts beyond which none is counted
	topValues     = 10     // texts that are counted
	maxText       = 200    // characters of a text that are kept
)

// Column is the profile of one column on one day.
type Column struct {
	Element     string // dotted name of the field; attributes of the event have their own name behind "@"
	Type        string
	Masked      bool // the lake shows no values: only nulls, and distinct pseudonyms of a text
	Rows, Nulls int64
	Distinct    int64 // -1 where it was not counted
	Approximate bool  // Distinct was estimated
	Min, Max    *Value
	Histogram   *Histogram // nil where there is nothing to show
}

// Histogram is how a column's values are spread. It has either bins or values.
type Histogram struct {
	Edges  []float64 `json:"edges,omitempty"` // of the bins, one more than Counts; seconds since 1970 where Time
	Counts []int64   `json:"counts,omitempty"`
	Below  int64     `json:"below,omitempty"` // values below the first edge
	Above  int64     `json:"above,omitempty"`
	Odd    int64     `json:"not_finite,omitempty"` // NaN and the infinities
	Time   bool      `json:"time,omitempty"`
	Values []Count   `json:"values,omitempty"` // single values, the most frequent ones of texts, all of numbers
	Others int64     `json:"others,omitempty"` // values that are not among Values
}

// Count is how many rows have a value.
type Count struct {
	Value string `json:"value"`
	Rows  int64  `json:"rows"`
}

// shape is how a column is profiled.
type shape uint8

const (
	opaque  shape = iota // nulls alone
	hidden               // nulls and distinct
	numeric              // by value
	instant              // by seconds since 1970
	text
	flag // boolean
)

// portrait is a column that is being profiled.
type portrait struct {
	Column
	shape shape
	expr  string // as it is
	value string // as a double, which may be none that is finite
	odd   bool   // it has values that are not finite
}

// columns returns what is profiled of a day: attributes, and the scalar fields of payload and enrichment.
func columns(schema *iceberg.Schema, model contract.Model, source string) []*portrait {
	var list []*portrait
	taken := map[string]bool{}
	for _, f := range model.Payload {
		taken[strings.ToLower(f.Name)] = true
	}
	for _, name := range attributesOf(source) {
		f, ok := schema.FindFieldByName(name)
		if !ok || taken[name] {
			continue
		}
		p := &portrait{Column: Column{Element: "@" + name, Type: f.Type.String()}, shape: text, expr: name}
		switch {
		case name == "subject": // it can name a person
			p.shape, p.Masked = hidden, true
		case strings.HasPrefix(f.Type.String(), "timestamp"):
			p.shape, p.value = instant, "to_unixtime("+name+")"
		}
		list = append(list, p)
	}
	list = appendFields(list, model.Payload, "", "", false)
	if fieldsOf(schema, "enrichment") != nil {
		list = appendFields(list, model.Enrichment, columnEnrichment+".", "enrichment.", false)
	}
	return list
}

func appendFields(list []*portrait, fields []contract.Field, expr, element string, masked bool) []*portrait {
	for _, f := range fields {
		p := &portrait{Column: Column{Element: element + f.Name, Type: f.Type.String(), Masked: masked || f.Masked()}, expr: expr + quote(f.Name)}
		switch f.Type {
		case contract.Integer, contract.Number, contract.Decimal:
			p.shape, p.value = numeric, "cast("+p.expr+" as double)"
		case contract.Timestamp:
			p.shape, p.value = instant, "to_unixtime("+p.expr+")"
		case contract.Date:
			p.shape, p.value = instant, "to_unixtime(cast("+p.expr+" as timestamp))"
		case contract.String:
			p.shape = text
		case contract.Boolean:
			p.shape = flag
		case contract.Object:
			if len(f.Fields) > 0 {
				list = appendFields(list, f.Fields, p.expr+".", p.Element+".", p.Masked)
				continue
			}
			p.shape = hidden
		case contract.Array:
			p.shape = opaque
		case contract.Any, contract.Time:
			p.shape = hidden
		}
		switch {
		case p.Masked && p.shape == text:
			p.shape = hidden
		case p.Masked:
			p.shape = opaque
		}
		list = append(list, p)
	}
	return list
}

// finite is the column's value where it is a finite double.
func (p *portrait) finite() string {
	if !p.odd {
		return p.value
	}
	return finite(p.value)
}

func finite(expr string) string {
	return "case when " + expr + " between -1.7976931348623157e308 and 1.7976931348623157e308 then " + expr + " end"
}

// profile describes the columns of the day. Each statement reads the columns that it needs once.
func (e *evaluation) profile(ctx context.Context, schema *iceberg.Schema, model contract.Model, source string) ([]Column, error) {
	list := columns(schema, model, source)
	finites, err := e.totals(ctx, list)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	cuts, err := e.cuts(ctx, list)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	out := make([]Column, len(list))
	for i, p := range list {
		present := p.Rows - p.Nulls
		switch {
		case present == 0 || p.shape == hidden || p.shape == opaque:
		case (p.shape == numeric || p.shape == instant) && p.Min == nil: // nothing finite
			p.Histogram = &Histogram{Odd: present}
		case p.shape == flag, p.shape == numeric && p.Distinct <= fewValues, p.shape == text && p.Distinct <= manyValues:
			err = e.values(ctx, p)
		case p.shape == numeric || p.shape == instant:
			err = e.histogram(ctx, p, cuts[i])
		}
		if err != nil {
			return nil, fmt.Errorf("profile of %s: %w", p.Element, err)
		}
		if p.Histogram != nil && (p.shape == numeric || p.shape == instant) {
			p.Histogram.Odd = present - finites[i]
		}
		out[i] = p.Column
	}
	return out, nil
}

// totals fills in rows, nulls, distinct, min and max, and returns how many finite numbers each column has.
func (e *evaluation) totals(ctx context.Context, list []*portrait) ([]int64, error) {
	exact := e.rows <= exactDistinct
	var exprs []string
	var into []func(any)
	add := func(expr string, f func(any)) {
		exprs, into = append(exprs, expr), append(into, f)
	}
	finites := make([]int64, len(list))
	for i, p := range list {
		p.Rows, p.Distinct = e.rows, -1
		add("count("+p.expr+")", func(v any) { p.Nulls = e.rows - int64(valueOf(v).Number) })
		if p.shape == opaque {
			continue
		}
		p.Approximate = !exact
		distinct := "approx_distinct(" + p.expr + ")"
		if exact {
			distinct = "count(distinct " + p.expr + ")"
		}
		add(distinct, func(v any) { p.Distinct = int64(valueOf(v).Number) })
		bound := func(to **Value) func(any) {
			return func(v any) {
				if x := valueOf(v); !x.Null {
					if p.shape == instant {
						x.Text = momentText(x.Number)
					}
					x.Text = shorten(x.Text, maxText)
					*to = &x
				}
			}
		}
		switch p.shape {
		case numeric:
			v := p.value
			if p.Type == contract.Number.String() {
				v = finite(v)
			}
			add("min("+v+")", bound(&p.Min))
			add("max("+v+")", bound(&p.Max))
			add("count("+v+")", func(v any) { finites[i] = int64(valueOf(v).Number) })
		case instant:
			add("min("+p.value+")", bound(&p.Min))
			add("max("+p.value+")", bound(&p.Max))
			add("count("+p.value+")", func(v any) { finites[i] = int64(valueOf(v).Number) })
		case text:
			add("min("+p.expr+")", bound(&p.Min))
			add("max("+p.expr+")", bound(&p.Max))
		case opaque, hidden, flag:
		}
	}
	if len(exprs) == 0 {
		return finites, nil
	}
	err := e.one(ctx, "select "+strings.Join(exprs, ", ")+" from "+rows, func(row []any) error {
		for i, f := range into {
			f(row[i])
		}
		return nil
	})
	for i, p := range list {
		p.Distinct = min(p.Distinct, p.Rows-p.Nulls) // an estimate can exceed what there is
		p.odd = finites[i] < p.Rows-p.Nulls
	}
	return finites, err
}

// cuts returns the quantiles 0.01 and 0.99 of each numeric column, from a sample of many rows.
func (e *evaluation) cuts(ctx context.Context, list []*portrait) (map[int][2]float64, error) {
	out := map[int][2]float64{}
	var exprs []string
	var of []int
	for i, p := range list {
		if p.shape == numeric && p.Distinct > fewValues || p.shape == instant && p.Min != nil {
			v := p.finite()
			exprs = append(exprs, "approx_percentile("+v+", 0.01)", "approx_percentile("+v+", 0.99)")
			of = append(of, i)
		}
	}
	if len(exprs) == 0 {
		return out, nil
	}
	where := ""
	if stride := e.rows / sampleRows; stride > 1 {
		where = fmt.Sprintf(" where %s %% %d = 0", columnSample, stride)
	}
	return out, e.one(ctx, "select "+strings.Join(exprs, ", ")+" from "+rows+where, func(row []any) error {
		for n, i := range of {
			lo, hi := valueOf(row[2*n]), valueOf(row[2*n+1])
			if lo.IsNumber && hi.IsNumber {
				out[i] = [2]float64{lo.Number, hi.Number}
			}
		}
		return nil
	})
}

// values counts the single values of a column that has few: of numbers all, of texts the most frequent.
func (e *evaluation) values(ctx context.Context, p *portrait) error {
	h := &Histogram{}
	order, limit := "2 desc, 1", topValues
	if p.shape == numeric {
		order, limit = "1", 4*fewValues // more than fewValues where that was an estimate
	}
	err := e.one(ctx, fmt.Sprintf("select %s, count(*) from %s where %[1]s is not null group by 1 order by %[3]s limit %[4]d", p.expr, rows, order, limit), func(row []any) error {
		h.Values = append(h.Values, Count{shorten(valueOf(row[0]).Text, maxText), int64(valueOf(row[1]).Number)})
		return nil
	})
	h.Others = p.Rows - p.Nulls
	for _, v := range h.Values {
		h.Others -= v.Rows
	}
	p.Histogram = h
	return err
}

// histogram counts a column's values in bins of equal width: between its least and greatest value, or between the quantiles where few values lie far off.
func (e *evaluation) histogram(ctx context.Context, p *portrait, cut [2]float64) error {
	lo, hi := p.Min.Number, p.Max.Number
	if between := cut[1] - cut[0]; between > 0 && hi-lo > 3*between {
		lo, hi = cut[0], cut[1]
	}
	width := (hi - lo) / bins
	h := &Histogram{Time: p.shape == instant}
	if !(width > 0) || math.IsInf(width, 0) { // one value, or a range beyond a double's
		lo, hi, width = p.Min.Number, p.Max.Number, 0
		h.Edges, h.Counts = []float64{lo, hi}, make([]int64, 1)
	} else {
		h.Counts = make([]int64, bins)
		for i := range bins {
			h.Edges = append(h.Edges, lo+float64(i)*width)
		}
		h.Edges = append(h.Edges, hi)
	}
	v := p.finite()
	bin := "0"
	if width > 0 {
		bin = "cast(case when v < " + double(lo) + " then -1 when v > " + double(hi) + " then " + strconv.Itoa(bins) + " when v = " + double(hi) + " then " + strconv.Itoa(bins-1) +
			" else least(floor((v - " + double(lo) + ") / " + double(width) + "), " + strconv.Itoa(bins-1) + ") end as integer)"
	}
	err := e.one(ctx, "select "+bin+", count(*) from (select "+v+" as v from "+rows+") as x where v is not null group by 1", func(row []any) error {
		n, count := int(valueOf(row[0]).Number), int64(valueOf(row[1]).Number)
		switch {
		case n < 0:
			h.Below += count
		case n >= len(h.Counts):
			h.Above += count
		default:
			h.Counts[n] += count
		}
		return nil
	})
	p.Histogram = h
	return err
}

// double is a number as a literal that is a double in both engines.
func double(x float64) string { return "cast(" + strconv.FormatFloat(x, 'e', -1, 64) + " as double)" }

// momentText is seconds since 1970 as text.
func momentText(seconds float64) string {
	whole, part := math.Modf(seconds)
	return timeText(time.Unix(int64(whole), int64(math.Round(part*1e6))*1000))
}

// JSON is the histogram as ops.quality keeps it.
func (h *Histogram) JSON() string {
	b, err := json.Marshal(h)
	if err != nil { // only a float that is not finite, which edges are not
		return ""
	}
	return string(b)
}
