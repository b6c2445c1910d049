package quality

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"millrace/shared/contract"
)

// The standard's library metrics, and what rules of other types have in their place.
const (
	metricNull      = "nullValues"
	metricMissing   = "missingValues"
	metricInvalid   = "invalidValues"
	metricDuplicate = "duplicateValues"
	metricRows      = "rowCount"
	metricSQL       = "sql"
)

const (
	unitPercent = "percent"
	unitRows    = "rows"

	severityError   = "error"
	severityWarning = "warning"
)

// rows is the relation that rules read: the rows of one day, its columns the payload's fields by their names in the contract.
const rows = "quality_rows"

// Names of the relation's columns that no field of a contract can have, since those do not begin with an underscore.
const (
	columnRoot       = "_root_id"
	columnEnrichment = "_enrichment"
	columnSample     = "_sample"
)

// Rule is a contract's quality rule, made ready to run.
type Rule struct {
	ID          string // the contract's, or one made of what the rule says, the same in every run
	Name        string
	Type        string // library, sql, text or custom
	Metric      string // of library; "sql"
	Element     string // dotted name of the field; "enrichment.x" of what the steps add; "" for the whole
	Dimension   string
	Severity    string // as the contract has it, warning where it has none
	Unit        string // rows, percent or any other word
	Description string
	Threshold   Threshold
	Blocking    bool   // a day that fails is held
	Flag        bool   // duplicateValues: its groups are written to ops.near_duplicates
	Problem     string // why it cannot be run, which is a failure
	NotRun      string // why it is not run, which is none

	where string   // a row fails; of nullValues, missingValues and invalidValues
	keys  []string // of duplicateValues
	query string   // of sql

	names []string // of the columns that examples show
	shown []string // and what they are in SQL
}

// compile makes the contract's rules ready. The fields are the MODEL's, of all versions.
func compile(c *contract.Contract, model contract.Model) []Rule {
	list := make([]Rule, 0, len(c.Quality))
	seen := map[string]int{}
	for i := range c.Quality {
		r := compileRule(&c.Quality[i], model)
		if seen[r.ID]++; seen[r.ID] > 1 {
			r.ID += "#" + strconv.Itoa(seen[r.ID])
		}
		list = append(list, r)
	}
	return list
}

func compileRule(q *contract.Quality, model contract.Model) Rule {
	r := Rule{
		ID: q.ID, Name: q.Name, Type: q.Type, Metric: q.Metric, Dimension: q.Dimension, Severity: q.Severity, Unit: q.Unit, Description: q.Description,
	}
	if r.Metric == "" {
		r.Metric = q.Rule
	}
	if r.Type == "" {
		r.Type = "library"
	}
	if r.Type == metricSQL {
		r.Metric = metricSQL
	}
	if r.Severity == "" {
		r.Severity = severityWarning
	}
	fields := model.Payload
	if q.Part == "enrichment" {
		fields = model.Enrichment
	}
	e, err := resolve(fields, q.Part, q.Element)
	r.Element = elementName(q.Part, q.Element)
	if r.ID == "" {
		r.ID = madeID(q, r.Element)
	}
	if r.Name == "" {
		r.Name = r.ID
	}
	r.Blocking = strings.EqualFold(r.Severity, severityError)
	var errs []error
	for _, p := range q.CustomProperties {
		switch p.Property {
		case "blocking":
			errs = append(errs, decodeBool(&p.Value, "blocking", &r.Blocking))
		case "flag":
			errs = append(errs, decodeBool(&p.Value, "flag", &r.Flag))
		}
	}
	switch r.Type {
	case "text", "custom":
		r.NotRun = "rules of type " + r.Type + " are for people and other programs"
		r.Blocking = false
		return r
	case "library", metricSQL:
	default:
		errs = append(errs, fmt.Errorf("type %q is not one of the standard's", r.Type))
	}
	if err != nil {
		errs = append(errs, err)
	} else if err := errors.Join(errs...); err == nil {
		errs = append(errs, r.build(q, e, fields))
	}
	var wrong error
	r.Threshold, wrong = thresholdOf(q)
	errs = append(errs, wrong)
	if r.Flag && r.Metric != metricDuplicate {
		errs = append(errs, errors.New("flag is for duplicateValues"))
	}
	if err := errors.Join(errs...); err != nil {
		r.Problem = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return r
}

func decodeBool(node *yaml.Node, name string, into *bool) error {
	if err := node.Decode(into); err != nil {
		return fmt.Errorf("custom property %s is neither true nor false", name)
	}
	return nil
}

// madeID names a rule that has no id by what it says.
func madeID(q *contract.Quality, element string) string {
	name := q.Metric + q.Rule
	if q.Query != "" {
		sum := sha256.Sum256([]byte(q.Query))
		name = "sql-" + hex.EncodeToString(sum[:4])
	}
	if name == "" {
		name = q.Type
	}
	if element == "" {
		return name
	}
	return element + "-" + name
}

// build sets what is run: where, keys or query.
func (r *Rule) build(q *contract.Quality, e element, fields []contract.Field) error {
	if e.expr != "" {
		r.names, r.shown = []string{r.Element}, []string{e.expr}
	}
	if r.Type == metricSQL {
		return r.buildQuery(q, e)
	}
	allowed := map[string][]string{
		metricNull: nil, metricRows: nil,
		metricMissing: {"missingValues"}, metricDuplicate: {"properties"},
		metricInvalid: {"validValues", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "min", "max", "minLength", "maxLength"},
	}
	names, known := allowed[r.Metric]
	if !known {
		if r.Metric == "" {
			return errors.New("the rule names no metric")
		}
		return fmt.Errorf("metric %q is not known; nullValues, missingValues, invalidValues, duplicateValues and rowCount are", r.Metric)
	}
	for _, name := range sortedKeys(q.Arguments) {
		if !slices.Contains(names, name) {
			return fmt.Errorf("argument %q is not known to %s", name, r.Metric)
		}
	}
	if r.Metric == metricRows {
		if strings.EqualFold(r.Unit, unitPercent) {
			return errors.New("rowCount is a number of rows: of what would it be a percentage?")
		}
		return nil
	}
	if r.Metric == metricDuplicate {
		return r.buildKeys(q, e, fields)
	}
	if e.expr == "" {
		return fmt.Errorf("%s is for a property", r.Metric)
	}
	var err error
	switch r.Metric {
	case metricNull:
		r.where = e.expr + " is null"
	case metricMissing:
		r.where, err = missing(q, e)
	case metricInvalid:
		r.where, err = invalid(q.Arguments, e)
	}
	return err
}

func (r *Rule) buildKeys(q *contract.Quality, e element, fields []contract.Field) error {
	if q.Arguments["properties"] == nil {
		if e.expr == "" {
			return errors.New("duplicateValues over the whole needs arguments.properties")
		}
		r.keys = []string{e.expr}
		return e.duplicable()
	}
	r.names, r.shown = nil, nil
	names, ok := q.Arguments["properties"].([]any)
	if !ok || len(names) == 0 {
		return errors.New("arguments.properties is no list of names")
	}
	for _, name := range names {
		text, ok := name.(string)
		if !ok {
			return errors.New("arguments.properties is no list of names")
		}
		pointer := "/" + strings.ReplaceAll(strings.TrimPrefix(text, "/"), ".", "/")
		k, err := resolve(fields, q.Part, pointer)
		if err != nil {
			return fmt.Errorf("arguments.properties: %w", err)
		}
		if err := k.duplicable(); err != nil {
			return err
		}
		if slices.Contains(r.keys, k.expr) {
			return fmt.Errorf("arguments.properties names %s twice", text)
		}
		r.keys, r.shown, r.names = append(r.keys, k.expr), append(r.shown, k.expr), append(r.names, elementName(q.Part, pointer))
	}
	return nil
}

var (
	placeholder       = regexp.MustCompile(`\$\{[^}]*\}`)
	quotedPlaceholder = regexp.MustCompile(`"(\$\{[^}"]*\})"`)
)

func (r *Rule) buildQuery(q *contract.Quality, e element) error {
	if strings.TrimSpace(q.Query) == "" {
		return errors.New("the rule has no query")
	}
	var err error
	query := placeholder.ReplaceAllStringFunc(quotedPlaceholder.ReplaceAllString(q.Query, "$1"), func(p string) string {
		switch p {
		case "${table}", "${object}":
			return rows
		case "${property}", "${column}":
			if e.expr != "" {
				return e.expr
			}
			err = fmt.Errorf("%s stands in a rule of no property", p)
		default:
			err = fmt.Errorf("placeholder %s is not known; ${table}, ${object}, ${property} and ${column} are", shorten(p, 40))
		}
		return p
	})
	if err != nil {
		return err
	}
	r.query, err = lint(query)
	return err
}

// element is a field as SQL sees it.
type element struct {
	field  contract.Field
	expr   string // "" for the whole object
	masked bool
}

// resolve finds the field at a JSON pointer through objects.
func resolve(fields []contract.Field, part, pointer string) (element, error) {
	var e element
	if pointer == "" {
		return e, nil
	}
	if part == "enrichment" {
		e.expr = columnEnrichment
	}
	for _, name := range strings.Split(pointer[1:], "/") {
		name = strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~")
		if name == "*" {
			return element{}, errors.New("a rule on the items of an array is not run; a sql rule can unnest it")
		}
		i := slices.IndexFunc(fields, func(f contract.Field) bool { return strings.EqualFold(f.Name, name) })
		if i < 0 {
			return element{}, fmt.Errorf("the contract has no property %s", shorten(name, 80))
		}
		e.field = fields[i]
		e.masked = e.masked || e.field.Masked()
		if e.expr != "" {
			e.expr += "."
		}
		e.expr += quote(e.field.Name)
		fields = e.field.Fields
	}
	return e, nil
}

// elementName is a pointer as people read it.
func elementName(part, pointer string) string {
	name := strings.ReplaceAll(strings.TrimPrefix(pointer, "/"), "/", ".")
	if part == "enrichment" {
		return strings.TrimSuffix("enrichment."+name, ".")
	}
	return name
}

// quote returns a name as SQL has it.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// literal returns a text as SQL has it.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

var errMasked = errors.New("the field is masked: the lake shows a pseudonym of a text, and null for all else, so that only nulls and duplicates of texts can be told")

// duplicable reports why equal values of the field cannot be told.
func (e element) duplicable() error {
	if e.masked && e.field.Type != contract.String {
		return errMasked
	}
	return nil
}

func missing(q *contract.Quality, e element) (string, error) {
	list, ok := q.Arguments["missingValues"].([]any)
	if !ok || len(list) == 0 {
		return "", errors.New("missingValues needs arguments.missingValues, a list of what counts as missing")
	}
	values, null, err := literals(list, e, "missingValues")
	if err != nil {
		return "", err
	}
	if len(values) > 0 && e.masked {
		return "", errMasked
	}
	var or []string
	if null {
		or = append(or, e.expr+" is null")
	}
	if len(values) > 0 {
		or = append(or, e.expr+" in ("+strings.Join(values, ", ")+")")
	}
	return strings.Join(or, " or "), nil
}

// invalid returns the condition of a value that is there and not valid. Null is never invalid: nullValues counts that.
func invalid(args map[string]any, e element) (string, error) {
	if e.masked {
		return "", errMasked
	}
	var or []string
	numeric := e.field.Type == contract.Integer || e.field.Type == contract.Number || e.field.Type == contract.Decimal
	ordered := numeric || e.field.Type == contract.Date || e.field.Type == contract.Timestamp
	for _, name := range sortedKeys(args) {
		arg := args[name]
		switch name {
		case "validValues":
			list, ok := arg.([]any)
			if !ok || len(list) == 0 {
				return "", errors.New("arguments.validValues is no list of values")
			}
			values, _, err := literals(list, e, name)
			if err != nil {
				return "", err
			}
			if len(values) == 0 {
				or = append(or, e.expr+" is not null")
				continue
			}
			or = append(or, e.expr+" not in ("+strings.Join(values, ", ")+")")
		case "pattern":
			text, ok := arg.(string)
			if !ok || e.field.Type != contract.String {
				return "", errors.New("arguments.pattern is a text, for a string")
			}
			if _, err := regexp.Compile(text); err != nil {
				return "", fmt.Errorf("arguments.pattern: %w", err)
			}
			or = append(or, "not regexp_like("+e.expr+", "+literal(text)+")")
		case "minLength", "maxLength":
			n, ok := arg.(int)
			if !ok || n < 0 || e.field.Type != contract.String {
				return "", fmt.Errorf("arguments.%s is a whole number of characters, for a string", name)
			}
			sign := " < "
			if name == "maxLength" {
				sign = " > "
			}
			or = append(or, "length("+e.expr+")"+sign+strconv.Itoa(n))
		default:
			if !ordered {
				return "", fmt.Errorf("arguments.%s on a field of type %s", name, e.field.Type)
			}
			bound, err := literalOf(arg, e.field)
			if err != nil {
				return "", fmt.Errorf("arguments.%s: %w", name, err)
			}
			sign := map[string]string{"minimum": " < ", "min": " < ", "maximum": " > ", "max": " > ", "exclusiveMinimum": " <= ", "exclusiveMaximum": " >= "}[name]
			or = append(or, e.expr+sign+bound)
		}
	}
	if len(or) == 0 {
		return "", errors.New("invalidValues needs arguments that say what is valid: validValues, pattern, minimum, maximum, exclusiveMinimum, exclusiveMaximum, minLength or maxLength")
	}
	if e.field.Type == contract.Number { // NaN compares in one way in one engine and in another in the other
		or = append(or, "is_nan("+e.expr+")")
	}
	return strings.Join(or, " or "), nil
}

// literals returns the list's values as SQL has them, and whether null is among them.
func literals(list []any, e element, name string) (values []string, null bool, err error) {
	for _, v := range list {
		if v == nil {
			null = true
			continue
		}
		text, err := literalOf(v, e.field)
		if err != nil {
			return nil, false, fmt.Errorf("arguments.%s: %w", name, err)
		}
		values = append(values, text)
	}
	return values, null, nil
}

// literalOf returns a value of YAML as SQL that has the field's type.
func literalOf(v any, f contract.Field) (string, error) {
	bad := func() (string, error) { return "", fmt.Errorf("%v is no %s", shorten(fmt.Sprint(v), 40), f.Type) }
	switch f.Type {
	case contract.Integer, contract.Number, contract.Decimal:
		var text string
		switch n := v.(type) {
		case int:
			text = strconv.Itoa(n)
		case uint64:
			text = strconv.FormatUint(n, 10)
		case float64:
			text = strconv.FormatFloat(n, 'f', -1, 64)
			if strings.ContainsAny(text, "NI") {
				return bad()
			}
		default:
			return bad()
		}
		if f.Type == contract.Number || f.Type == contract.Integer && strings.Contains(text, ".") {
			text += "e0" // a double in both engines; without it a decimal
		}
		return text, nil
	case contract.String:
		if s, ok := v.(string); ok {
			return literal(s), nil
		}
	case contract.Boolean:
		if b, ok := v.(bool); ok {
			return strconv.FormatBool(b), nil
		}
	case contract.Date, contract.Timestamp:
		var t time.Time
		switch s := v.(type) {
		case time.Time:
			t = s.UTC()
		case string:
			var err error
			if t, err = parseMoment(s); err != nil {
				return bad()
			}
		default:
			return bad()
		}
		switch {
		case f.Type == contract.Date:
			return "date '" + t.Format(time.DateOnly) + "'", nil
		case f.Timezone:
			return "cast('" + t.Format("2006-01-02 15:04:05.000000") + " UTC' as timestamp with time zone)", nil
		}
		return "timestamp '" + t.Format("2006-01-02 15:04:05.000000") + "'", nil
	case contract.Any, contract.Time, contract.Object, contract.Array:
	}
	return bad()
}

func parseMoment(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, errors.New("no date or time")
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
