package contract

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"millrace/shared/event"
	"millrace/shared/rawjson"
)

// Type is what a field's value is, as the lake and search have to know it.
type Type uint8

// The types of fields.
const (
	Any       Type = iota // any JSON value: a property without logicalType
	String                // text
	Integer               // an integer of 64 bits, also when spelled 1.0
	Number                // a finite double
	Decimal               // an exact number: Field.Precision digits, Field.Scale of them behind the point
	Boolean               // true or false
	Date                  // a day: yyyy-MM-dd unless the contract's format says otherwise
	Timestamp             // a moment or a wall clock: see Field.Timezone
	Time                  // a time of day
	Object                // Field.Fields; without any, an object of unknown shape
	Array                 // Field.Items; without, an array of anything
)

var typeNames = [...]string{"any", "string", "integer", "number", "decimal", "boolean", "date", "timestamp", "time", "object", "array"}

// String is the type's name in lower case.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "type " + strconv.Itoa(int(t))
}

// Field is one property of a payload or of an enrichment. Contracts are shared between goroutines: read only.
type Field struct {
	Name        string
	Type        Type
	Required    bool    // present and not null; other fields may be absent or null
	Precision   int     // of Decimal, 1 to 38
	Scale       int     // of Decimal, 0 to Precision
	Timezone    bool    // of Timestamp and Time: the text names its offset (or means UTC), so the value is an instant; else a wall clock
	Fields      []Field // of Object, in the file's order
	Items       *Field  // of Array; nil where the contract says nothing
	Closed      bool    // of Object: a member that Fields does not name is a violation
	Description string
	// Classification is the standard's: what may be done with the value, as the file has it; see [Field.Masked]. "" where the file says nothing. In a [Model] it is the
	// strictest of all versions.
	Classification string
	PhysicalType   string // as the file has it
	Format         string // as the file has it; of strings, only those named in the package comment are checked
	PrimaryKey     bool
	Unique         bool   // over rows: curation's business, not Check's
	Search         string // custom property "search": "text" for analysed text, "none" for kept but not indexed, else ""

	pointer string // RFC 6901, within the payload; array items have "/*"
	layout  *layout
	rules   rules
}

// rules are what Check holds a value against, beside its type.
type rules struct {
	minLength, maxLength int // of strings in code points, of arrays in items, of objects in members; maxLength -1: none
	pattern              *regexp.Regexp
	format               func(string) bool
	enum                 []string // canonical JSON of each allowed value
	enumSet              map[string]bool
	min, max             *bound
	multipleOf           string
	uniqueItems          bool
	intMin, intMax       int64
}

type bound struct {
	text      string // as the file has it
	number    float64
	time      time.Time
	exclusive bool
}

// Step is one enrichment step that the contract asks for, in the file's order.
type Step struct {
	Name   string
	Lookup *Lookup // the only kind so far
}

// Lookup adds columns of a reference table's row to the enrichment.
type Lookup struct {
	Table     string   // name of the reference table
	Column    string   // column of the table that holds the key
	Key       string   // JSON pointer of the key in the payload, to a field of the contract, not within an array
	Path      []string // Key, taken apart
	Fields    []Column // what is added, in the file's order
	OnMissing string   // where no row has the key, or it is absent or null: "null" (null fields and a note) or "fail" (a dead letter)
}

// Column says which column of a table becomes which field of the enrichment.
type Column struct {
	Field  string // name of a field in Contract.Enrichment
	Column string
}

// Values of [Lookup.OnMissing].
const (
	MissingNull = "null"
	MissingFail = "fail"
)

// Notes is the name of the enrichment's field that says what a step could not add, and why: an array of strings.
const Notes = "notes"

// Contract is one event type in one version. It is safe for concurrent use and never changes.
type Contract struct {
	EventType string
	Version   string // MODEL-REVISION-ADDITION, as the attribute schemaversion has it: 0-0-1
	Model     int
	Revision  int
	Addition  int
	URI       string // urn:millrace:contract:<EventType>:<Version>
	ID        string // the file's id
	Name      string
	Status    string // proposed, draft, active, deprecated or retired, as the standard suggests

	Payload    []Field // in the file's order
	Enrichment []Field // in the file's order; empty where there are no steps
	Steps      []Step
	Quality    []Quality // of payload and enrichment, in the file's order
	SLA        []SLA

	Description string // the purpose
	Owner       string // the team's name, "" where the file names none

	root       Field // the payload as an object
	enrichment Field
	checker    *checker
	paths      [][]string // of the steps' keys: what Inspect picks
	source     []byte
	file       string // the name that Parse was given
}

// EnrichedURI is the dataschema of enriched events: the contract's URI and "/enriched".
func (c *Contract) EnrichedURI() string { return c.URI + "/enriched" }

// Field returns the payload's field at a JSON pointer through objects, such as /PULocationID, or nil.
func (c *Contract) Field(pointer string) *Field { return find(&c.root, pointer) }

// Source is the YAML text that the contract was read from. Do not change it.
func (c *Contract) Source() []byte { return c.source }

// StatusActive is the status of contracts that events without a schema version may be held against.
const StatusActive = "active"

const (
	maxFields = 900 // below Elasticsearch's 1,000 fields for an index, with our own attributes
	maxNested = 12  // below its 20 levels of a mapping
)

var decimalPattern = regexp.MustCompile(`(?i)^\s*(?:decimal|numeric)\s*\(\s*(\d{1,2})\s*(?:,\s*(\d{1,2})\s*)?\)\s*$`)

// Parse reads one contract file. name is used in errors, all of which are joined: a file is refused as a whole, and whoever
// wrote it sees everything that is wrong with it.
func Parse(name string, data []byte) (*Contract, error) {
	doc, err := decodeDocument(data)
	if err != nil {
		return nil, fmt.Errorf("contract %s: %w", name, err)
	}
	p := &parser{}
	c := p.contract(doc)
	if err := errors.Join(p.errs...); err != nil {
		return nil, fmt.Errorf("contract %s: %w", name, err)
	}
	c.inherit()
	c.source, c.file = slices.Clone(data), name
	c.root.pointer, c.enrichment.pointer = "", ""
	c.checker = compile(c.root, c.paths)
	return c, nil
}

// parser collects errors, so that one reading reports all.
type parser struct {
	errs   []error
	fields int
	part   string
}

func (p *parser) fail(format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf(format, args...))
}

func (p *parser) contract(doc *document) *Contract {
	c := &Contract{ID: doc.ID, Name: doc.Name, Status: doc.Status, SLA: doc.SLAProperties, Description: doc.Description.Purpose}
	if doc.Kind != "DataContract" {
		p.fail("kind is %q, not DataContract", doc.Kind)
	}
	if !strings.HasPrefix(doc.APIVersion, "v3.") {
		p.fail("apiVersion is %q; v3.1.0 of the Open Data Contract Standard is read here", doc.APIVersion)
	}
	if doc.ID == "" {
		p.fail("id is missing")
	}
	if doc.Status == "" {
		p.fail("status is missing")
	}
	if team, ok := doc.Team.(map[string]any); ok {
		c.Owner, _ = team["name"].(string)
	}
	if c.Version = schemaVersion(doc.Version); c.Version == "" {
		p.fail("version is %q, not MODEL.REVISION.ADDITION such as 0.0.1", doc.Version)
	} else {
		numbers := strings.Split(c.Version, "-")
		c.Model, _ = strconv.Atoi(numbers[0]) // a valid version has three numbers
		c.Revision, _ = strconv.Atoi(numbers[1])
		c.Addition, _ = strconv.Atoi(numbers[2])
	}
	if node := custom(doc.CustomProperties, "eventType"); node == nil {
		p.fail("custom property eventType is missing: it names the event type that the contract is for")
	} else if err := node.Decode(&c.EventType); err != nil || !event.ValidType(c.EventType) {
		p.fail("custom property eventType is not a letter and at most 127 letters, digits, '.', '_' or '-'")
	}
	c.URI = "urn:millrace:contract:" + c.EventType + ":" + c.Version

	payloads := 0
	for i := range doc.Schema {
		object := &doc.Schema[i]
		if object.LogicalType == "" {
			object.LogicalType = "object"
		}
		if object.Name == "enrichment" {
			p.part = "enrichment"
			c.enrichment = p.field(c, object, "", "", 0)
			c.Enrichment = c.enrichment.Fields
			continue
		}
		payloads++
		p.part = "payload"
		c.root = p.field(c, object, "", "", 0)
		c.root.Required = true
		c.Payload = c.root.Fields
	}
	if payloads != 1 {
		p.fail("schema has %d objects beside enrichment; one is the payload", payloads)
	}
	if c.root.Type != Object || c.Enrichment != nil && c.enrichment.Type != Object {
		p.fail("schema elements are objects")
	}
	if p.fields > maxFields {
		p.fail("%d fields; at most %d fit in a search index", p.fields, maxFields)
	}
	p.steps(c, custom(doc.CustomProperties, "enrichmentSteps"))
	for _, cp := range doc.CustomProperties {
		if cp.Property != "eventType" && cp.Property != "enrichmentSteps" && strings.HasPrefix(strings.ToLower(cp.Property), "enrichment") {
			p.fail("custom property %q is not known; enrichmentSteps is", cp.Property)
		}
	}
	return c
}

// field reads one property. where is its pointer's parent.
func (p *parser) field(c *Contract, in *property, where, name string, depth int) Field {
	p.fields++
	f := Field{
		Name: in.Name, Required: in.Required, Description: in.Description, Classification: in.Classification,
		PhysicalType: in.PhysicalType, PrimaryKey: in.PrimaryKey, Unique: in.Unique, Format: in.LogicalTypeOptions.Format,
		rules: rules{maxLength: -1, intMin: math.MinInt64, intMax: math.MaxInt64},
	}
	if depth > 0 {
		f.pointer = where + "/" + name
	}
	at := p.part + f.pointer
	if depth > maxNested {
		p.fail("%s: nested deeper than %d", at, maxNested)
		return f
	}
	for _, q := range in.Quality {
		q.Element, q.Part = f.pointer, p.part
		c.Quality = append(c.Quality, q)
	}
	switch in.LogicalType {
	case "":
		f.Type = Any
	case "string":
		f.Type = String
	case "integer":
		f.Type = Integer
	case "number":
		f.Type = Number
		if m := decimalPattern.FindStringSubmatch(in.PhysicalType); m != nil {
			f.Type = Decimal
			f.Precision, _ = strconv.Atoi(m[1]) // the pattern admits digits only
			f.Scale, _ = strconv.Atoi(m[2])     // none: 0
			if f.Precision < 1 || f.Precision > 38 || f.Scale > f.Precision {
				p.fail("%s: physicalType %q: precision is 1 to 38, scale at most the precision", at, in.PhysicalType)
			}
		}
	case "boolean":
		f.Type = Boolean
	case "date":
		f.Type = Date
	case "timestamp":
		f.Type = Timestamp
	case "time":
		f.Type = Time
	case "object":
		f.Type = Object
	case "array":
		f.Type = Array
	default:
		p.fail("%s: logicalType %q is not one of the standard's", at, in.LogicalType)
		return f
	}
	p.options(&f, in, at)
	p.custom(&f, in, at)
	if len(in.Properties) > 0 && f.Type != Object {
		p.fail("%s: properties on a field of type %s", at, f.Type)
	}
	if in.Items != nil && f.Type != Array {
		p.fail("%s: items on a field of type %s", at, f.Type)
	}
	seen := map[string]string{}
	for i := range in.Properties {
		child := &in.Properties[i]
		p.name(child.Name, at)
		// SQL engines and Iceberg compare names without case.
		lower := strings.ToLower(child.Name)
		if other, ok := seen[lower]; ok {
			p.fail("%s: fields %q and %q differ in case at most", at, other, child.Name)
		}
		seen[lower] = child.Name
		f.Fields = append(f.Fields, p.field(c, child, f.pointer, escapePointer(child.Name), depth+1))
	}
	for _, name := range in.LogicalTypeOptions.Required {
		i := slices.IndexFunc(f.Fields, func(g Field) bool { return g.Name == name })
		if i < 0 {
			p.fail("%s: logicalTypeOptions.required names %q, which is no property", at, name)
			continue
		}
		f.Fields[i].Required = true
	}
	if in.Items != nil {
		item := p.field(c, in.Items, f.pointer, "*", depth+1)
		f.Items = &item
	}
	return f
}

func (p *parser) name(name, at string) {
	switch {
	case name == "":
		p.fail("%s: a property has no name", at)
	case len(name) > 255:
		p.fail("%s: a property's name has more than 255 bytes", at)
	case strings.ContainsRune(name, '.'), strings.TrimSpace(name) != name, strings.HasPrefix(name, "_"):
		// Elasticsearch reads a dot as nesting; names that begin with _ are the lake's own.
		p.fail("%s: property name %q: no dots, no white space around it, no leading underscore", at, name)
	}
	for _, r := range name {
		if r < ' ' || r == 0x7f {
			p.fail("%s: property name %q has control characters", at, name)
			return
		}
	}
}

func (p *parser) options(f *Field, in *property, at string) {
	o := in.LogicalTypeOptions
	only := func(set bool, option string, types ...Type) bool {
		if set && !slices.Contains(types, f.Type) {
			p.fail("%s: option %s on a field of type %s", at, option, f.Type)
			return false
		}
		return set
	}
	length := func(lo, hi *int, loName, hiName string, typ Type) {
		if only(lo != nil, loName, typ) {
			f.rules.minLength = *lo
		}
		if only(hi != nil, hiName, typ) {
			f.rules.maxLength = *hi
		}
		if lo != nil && *lo < 0 || hi != nil && *hi < 0 || lo != nil && hi != nil && *lo > *hi {
			p.fail("%s: %s and %s admit nothing", at, loName, hiName)
		}
	}
	length(o.MinLength, o.MaxLength, "minLength", "maxLength", String)
	length(o.MinItems, o.MaxItems, "minItems", "maxItems", Array)
	length(o.MinProperties, o.MaxProperties, "minProperties", "maxProperties", Object)
	only(len(o.Required) > 0, "required", Object)
	if only(o.UniqueItems, "uniqueItems", Array) {
		f.rules.uniqueItems = true
	}
	if only(o.Pattern != "", "pattern", String) {
		re, err := regexp.Compile(o.Pattern)
		if err != nil {
			p.fail("%s: pattern: %w", at, err)
		}
		f.rules.pattern = re
	}
	if only(o.Format != "", "format", String, Integer, Number, Decimal, Date, Timestamp, Time) {
		p.format(f, o.Format, at)
	}
	only(o.Timezone != nil, "timezone", Timestamp, Time)
	only(o.DefaultTimezone != "", "defaultTimezone", Timestamp, Time)
	if f.Type == Date || f.Type == Timestamp || f.Type == Time {
		zone := zoneNone
		switch {
		case f.Type == Date:
		case o.Timezone == nil && o.DefaultTimezone == "" && f.Type == Time:
		case o.Timezone == nil:
			zone = zoneOptional
		case *o.Timezone:
			zone = zoneRequired
		}
		if o.DefaultTimezone != "" && zone != zoneOptional {
			// With timezone: false it tells people where the clock hangs; the text stays a wall clock.
			if zone == zoneRequired {
				p.fail("%s: defaultTimezone has no meaning where timezone is true", at)
			}
		} else if zone == zoneOptional && !slices.Contains([]string{"", "UTC", "Etc/UTC", "Z"}, o.DefaultTimezone) {
			p.fail("%s: defaultTimezone %q: only Etc/UTC can be assumed; say timezone: false for a wall clock", at, o.DefaultTimezone)
		}
		l, err := compileLayout(f.Type, o.Format, zone)
		if err != nil {
			p.fail("%s: %w", at, err)
			l = &layout{typ: f.Type, zone: zone}
		}
		f.layout = l
		f.Timezone = l.zone != zoneNone
	}
	f.rules.min = p.bound(f, &o.Minimum, &o.ExclusiveMinimum, "minimum", "exclusiveMinimum", at)
	f.rules.max = p.bound(f, &o.Maximum, &o.ExclusiveMaximum, "maximum", "exclusiveMaximum", at)
	if only(!o.MultipleOf.IsZero(), "multipleOf", Integer, Number, Decimal) {
		text := o.MultipleOf.Value
		if v, ok := ParseNumber([]byte(text)); !ok || v <= 0 {
			p.fail("%s: multipleOf is no number above zero", at)
		}
		f.rules.multipleOf = text
	}
}

func (p *parser) format(f *Field, format, at string) {
	switch f.Type {
	case String:
		f.rules.format = stringFormats[format] // others are an annotation, as the standard has it
	case Integer:
		bits, ok := map[string]int{"i8": 8, "i16": 16, "i32": 32, "i64": 64}[format]
		switch {
		case ok:
			f.rules.intMin, f.rules.intMax = -1<<(bits-1), 1<<(bits-1)-1
		case format == "u8" || format == "u16" || format == "u32":
			n, _ := strconv.Atoi(format[1:]) // one of three literals
			f.rules.intMin, f.rules.intMax = 0, 1<<n-1
		default:
			p.fail("%s: format %q: integers are kept in 64 bits with a sign; say number with physicalType decimal(20,0)", at, format)
		}
	case Number, Decimal:
		if format != "f32" && format != "f64" {
			p.fail("%s: format %q is not one of the standard's", at, format)
		}
	case Any, Boolean, Date, Timestamp, Time, Object, Array: // dates: compileLayout
	}
}

func (p *parser) bound(f *Field, incl, excl *yaml.Node, inclName, exclName, at string) *bound {
	node, name := incl, inclName
	switch {
	case incl.IsZero() && excl.IsZero():
		return nil
	case !incl.IsZero() && !excl.IsZero():
		p.fail("%s: both %s and %s", at, inclName, exclName)
		return nil
	case incl.IsZero():
		node, name = excl, exclName
	}
	b := &bound{text: node.Value, exclusive: node == excl}
	switch f.Type {
	case Integer, Number, Decimal:
		v, ok := ParseNumber([]byte(node.Value))
		if !ok {
			p.fail("%s: %s is no number", at, name)
		}
		b.number = v
	case Date, Timestamp, Time:
		t, err := f.layout.parse(node.Value)
		if err != nil {
			t, err = (&layout{typ: f.Type, zone: f.layout.zone}).parse(node.Value)
		}
		if err != nil {
			p.fail("%s: %s is not spelled %s", at, name, f.layout.shape())
		}
		b.time = t
	case Any, String, Boolean, Object, Array:
		p.fail("%s: option %s on a field of type %s", at, name, f.Type)
	}
	return b
}

// custom reads the custom properties of one field, for which the standard has no keys of its own.
func (p *parser) custom(f *Field, in *property, at string) {
	if node := custom(in.CustomProperties, "additionalProperties"); node != nil {
		open := true
		if err := node.Decode(&open); err != nil || f.Type != Object {
			p.fail("%s: additionalProperties is true or false, on objects", at)
		}
		f.Closed = !open
	}
	if node := custom(in.CustomProperties, "search"); node != nil {
		f.Search = node.Value
		if f.Search != "none" && (f.Search != "text" || f.Type != String) {
			p.fail("%s: search is none, or on strings text", at)
		}
	}
	node := custom(in.CustomProperties, "enum")
	if node == nil {
		return
	}
	var values []any
	if err := node.Decode(&values); err != nil || len(values) == 0 {
		p.fail("%s: enum is a list of values", at)
		return
	}
	f.rules.enumSet = map[string]bool{}
	for i, v := range values {
		ok := false
		var text string
		switch v := v.(type) {
		case string:
			ok, text = f.Type == String, string(rawjson.AppendString(nil, v))
		case int:
			ok, text = f.Type == Integer, strconv.Itoa(v)
		}
		if !ok {
			p.fail("%s: enum value %d: strings on a string, integers on an integer", at, i)
			continue
		}
		f.rules.enum = append(f.rules.enum, text)
		f.rules.enumSet[text] = true
	}
}

func (p *parser) steps(c *Contract, node *yaml.Node) {
	if node == nil {
		return
	}
	var list []struct {
		Name   string `yaml:"name"`
		Lookup *struct {
			Table     string    `yaml:"table"`
			Column    string    `yaml:"column"`
			Key       string    `yaml:"key"`
			Fields    yaml.Node `yaml:"fields"`
			OnMissing yaml.Node `yaml:"onMissing"`
		} `yaml:"lookup"`
	}
	if err := node.Decode(&list); err != nil {
		p.fail("enrichmentSteps: %w", err)
		return
	}
	names, filled := map[string]bool{}, map[string]bool{}
	for i, in := range list {
		at := fmt.Sprintf("enrichmentSteps[%d]", i)
		if in.Name == "" || names[in.Name] {
			p.fail("%s: name is missing or used twice", at)
		}
		names[in.Name] = true
		if in.Lookup == nil {
			p.fail("%s: no lookup, which is the only kind of step", at)
			continue
		}
		l := &Lookup{Table: in.Lookup.Table, Column: in.Lookup.Column, Key: in.Lookup.Key, OnMissing: in.Lookup.OnMissing.Value}
		if l.OnMissing == "" {
			l.OnMissing = MissingNull
		}
		if l.Table == "" || l.Column == "" || l.OnMissing != MissingNull && l.OnMissing != MissingFail {
			p.fail("%s: lookup wants table, column, and onMissing null or fail", at)
		}
		switch key := find(&c.root, l.Key); {
		case key == nil:
			p.fail("%s: key %q is no field of the payload, or lies in an array", at, l.Key)
		case key.Type != String && key.Type != Integer:
			p.fail("%s: key %q is a %s; a string or an integer is wanted", at, l.Key, key.Type)
		default:
			for _, part := range strings.Split(l.Key, "/")[1:] {
				l.Path = append(l.Path, unescapePointer(part))
			}
		}
		if in.Lookup.Fields.Kind != yaml.MappingNode || len(in.Lookup.Fields.Content) == 0 {
			p.fail("%s: fields maps names in the enrichment to columns", at)
		}
		for j := 0; j+1 < len(in.Lookup.Fields.Content); j += 2 {
			col := Column{Field: in.Lookup.Fields.Content[j].Value, Column: in.Lookup.Fields.Content[j+1].Value}
			k := slices.IndexFunc(c.Enrichment, func(f Field) bool { return f.Name == col.Field })
			switch {
			case k < 0:
				p.fail("%s: field %q is not in the schema's enrichment", at, col.Field)
			case filled[col.Field]:
				p.fail("%s: field %q is filled by two steps", at, col.Field)
			case c.Enrichment[k].Required && l.OnMissing == MissingNull:
				p.fail("%s: field %q is required, yet null where the key is missing", at, col.Field)
			case !slices.Contains([]Type{String, Integer, Number, Boolean}, c.Enrichment[k].Type):
				p.fail("%s: field %q is a %s; a lookup gives string, integer, number or boolean", at, col.Field, c.Enrichment[k].Type)
			}
			filled[col.Field] = true
			l.Fields = append(l.Fields, col)
		}
		if l.OnMissing == MissingNull {
			k := slices.IndexFunc(c.Enrichment, func(f Field) bool { return f.Name == Notes })
			if k < 0 || c.Enrichment[k].Type != Array || c.Enrichment[k].Items == nil || c.Enrichment[k].Items.Type != String {
				p.fail("%s: with onMissing null the enrichment needs the field %s, an array of strings", at, Notes)
			}
		}
		c.Steps = append(c.Steps, Step{Name: in.Name, Lookup: l})
		c.paths = append(c.paths, l.Path)
	}
}

// find returns the field at a pointer through objects, or nil.
func find(root *Field, pointer string) *Field {
	if !strings.HasPrefix(pointer, "/") {
		return nil
	}
	f := root
	for _, part := range strings.Split(pointer[1:], "/") {
		name := unescapePointer(part)
		i := slices.IndexFunc(f.Fields, func(g Field) bool { return g.Name == name })
		if i < 0 || f.Type != Object {
			return nil
		}
		f = &f.Fields[i]
	}
	return f
}

var (
	pointerEscaper   = strings.NewReplacer("~", "~0", "/", "~1")
	pointerUnescaper = strings.NewReplacer("~1", "/", "~0", "~")
)

func escapePointer(s string) string   { return pointerEscaper.Replace(s) }
func unescapePointer(s string) string { return pointerUnescaper.Replace(s) }

// Masked reports whether the field's classification keeps its value out of search and lake as it is (package mask). "public" and "internal" show it, whatever their case, and so does none at
// all. Any other word masks it, personal as well as confidential, restricted and one that was misspelled: a mistake hides too much and never too little.
func (f *Field) Masked() bool {
	switch strings.ToLower(strings.TrimSpace(f.Classification)) {
	case "", "public", "internal":
		return false
	}
	return true
}

// inherit classifies all fields of a payload or an enrichment that is classified as a whole, and the enrichment's fields of which the file does not say anything as the keys of the steps that fill them.
func (c *Contract) inherit() {
	for _, of := range []*Field{&c.root, &c.enrichment} { // the object as a whole
		for i := range of.Fields {
			if of.Masked() && !of.Fields[i].Masked() {
				of.Fields[i].Classification = of.Classification
			}
		}
	}
	for _, step := range c.Steps {
		by := ""
		for f, path := &c.root, step.Lookup.Path; ; path = path[1:] {
			if f.Masked() {
				by = f.Classification
				break
			}
			if len(path) == 0 {
				break
			}
			f = &f.Fields[slices.IndexFunc(f.Fields, func(g Field) bool { return g.Name == path[0] })]
		}
		for _, column := range step.Lookup.Fields {
			i := slices.IndexFunc(c.Enrichment, func(f Field) bool { return f.Name == column.Field })
			if by != "" && c.Enrichment[i].Classification == "" {
				c.Enrichment[i].Classification = by
			}
		}
	}
}

// Pointer is the field's JSON pointer (RFC 6901) within the payload or the enrichment; "*" stands for the items of an array.
func (f *Field) Pointer() string { return f.pointer }

// ParseTime reads the text of a Date, Timestamp or Time field exactly as Check does. Without Timezone the result is that wall
// clock in UTC; a Time is on 1 January of the year 1.
func (f *Field) ParseTime(s string) (time.Time, error) {
	if f.layout == nil {
		return time.Time{}, fmt.Errorf("field %s is a %s", f.Name, f.Type)
	}
	t, err := f.layout.parse(s)
	if err != nil {
		return time.Time{}, fmt.Errorf("field %s: value %w", f.Name, err)
	}
	return t, nil
}

// schemaVersion returns a contract's version MODEL.REVISION.ADDITION as events name it, with dashes; "" where it is none.
func schemaVersion(version string) string {
	dashed := strings.ReplaceAll(version, ".", "-")
	if strings.Contains(version, "-") || !event.ValidVersion(dashed) {
		return ""
	}
	return dashed
}
