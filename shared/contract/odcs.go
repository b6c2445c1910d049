package contract

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"gopkg.in/yaml.v3"
)

// maxFile is the size in bytes beyond which a contract's file is refused unread.
const maxFile = 1 << 20

// document is an Open Data Contract Standard v3.1 file. Every key that the standard names at the levels we read is listed, since
// decoding refuses others: a misspelt "requierd" would otherwise switch a rule off without a word.
type document struct {
	Version                  string           `yaml:"version"`
	Kind                     string           `yaml:"kind"`
	APIVersion               string           `yaml:"apiVersion"`
	ID                       string           `yaml:"id"`
	Name                     string           `yaml:"name"`
	Tenant                   string           `yaml:"tenant"`
	Tags                     []string         `yaml:"tags"`
	Status                   string           `yaml:"status"`
	Servers                  any              `yaml:"servers"`
	DataProduct              string           `yaml:"dataProduct"`
	Description              description      `yaml:"description"`
	Domain                   string           `yaml:"domain"`
	Schema                   []property       `yaml:"schema"`
	Support                  any              `yaml:"support"`
	Price                    any              `yaml:"price"`
	Team                     any              `yaml:"team"`
	Roles                    any              `yaml:"roles"`
	SLADefaultElement        string           `yaml:"slaDefaultElement"`
	SLAProperties            []SLA            `yaml:"slaProperties"`
	AuthoritativeDefinitions any              `yaml:"authoritativeDefinitions"`
	CustomProperties         []customProperty `yaml:"customProperties"`
	ContractCreated          string           `yaml:"contractCreatedTs"`
}

type description struct {
	Usage                    string           `yaml:"usage"`
	Purpose                  string           `yaml:"purpose"`
	Limitations              string           `yaml:"limitations"`
	AuthoritativeDefinitions any              `yaml:"authoritativeDefinitions"`
	CustomProperties         []customProperty `yaml:"customProperties"`
}

type customProperty struct {
	ID          string    `yaml:"id"`
	Property    string    `yaml:"property"`
	Value       yaml.Node `yaml:"value"`
	Description string    `yaml:"description"`
}

// property is the standard's SchemaObject, SchemaProperty and SchemaItemProperty, which differ in little.
type property struct {
	ID                       string           `yaml:"id"`
	Name                     string           `yaml:"name"`
	PhysicalType             string           `yaml:"physicalType"`
	PhysicalName             string           `yaml:"physicalName"`
	Description              string           `yaml:"description"`
	BusinessName             string           `yaml:"businessName"`
	AuthoritativeDefinitions any              `yaml:"authoritativeDefinitions"`
	Tags                     []string         `yaml:"tags"`
	CustomProperties         []customProperty `yaml:"customProperties"`
	LogicalType              string           `yaml:"logicalType"`
	LogicalTypeOptions       options          `yaml:"logicalTypeOptions"`
	DataGranularity          string           `yaml:"dataGranularityDescription"`
	PrimaryKey               bool             `yaml:"primaryKey"`
	PrimaryKeyPosition       int              `yaml:"primaryKeyPosition"`
	Required                 bool             `yaml:"required"`
	Unique                   bool             `yaml:"unique"`
	Partitioned              bool             `yaml:"partitioned"`
	PartitionKeyPosition     int              `yaml:"partitionKeyPosition"`
	Classification           string           `yaml:"classification"`
	EncryptedName            string           `yaml:"encryptedName"`
	TransformSourceObjects   []string         `yaml:"transformSourceObjects"`
	TransformLogic           string           `yaml:"transformLogic"`
	TransformDescription     string           `yaml:"transformDescription"`
	Examples                 []any            `yaml:"examples"`
	CriticalDataElement      bool             `yaml:"criticalDataElement"`
	Relationships            any              `yaml:"relationships"`
	Quality                  []Quality        `yaml:"quality"`
	Properties               []property       `yaml:"properties"`
	Items                    *property        `yaml:"items"`
}

// options are the standard's logicalTypeOptions of all types; which may be used with which type is checked in field.
type options struct {
	MinLength        *int      `yaml:"minLength"`
	MaxLength        *int      `yaml:"maxLength"`
	Pattern          string    `yaml:"pattern"`
	Format           string    `yaml:"format"`
	Minimum          yaml.Node `yaml:"minimum"`
	Maximum          yaml.Node `yaml:"maximum"`
	ExclusiveMinimum yaml.Node `yaml:"exclusiveMinimum"`
	ExclusiveMaximum yaml.Node `yaml:"exclusiveMaximum"`
	MultipleOf       yaml.Node `yaml:"multipleOf"`
	Timezone         *bool     `yaml:"timezone"`
	DefaultTimezone  string    `yaml:"defaultTimezone"`
	MinProperties    *int      `yaml:"minProperties"`
	MaxProperties    *int      `yaml:"maxProperties"`
	Required         []string  `yaml:"required"`
	MinItems         *int      `yaml:"minItems"`
	MaxItems         *int      `yaml:"maxItems"`
	UniqueItems      bool      `yaml:"uniqueItems"`
}

// Quality is one data quality rule, as the standard's DataQuality says. Check enforces none of them: they are curation's.
type Quality struct {
	// Element is the JSON pointer of the field that carries the rule, or "" for a rule over the whole object.
	Element string `yaml:"-"`
	// Part is where Element is looked up: "payload" or "enrichment".
	Part string `yaml:"-"`

	ID             string         `yaml:"id"`
	Name           string         `yaml:"name"`
	Description    string         `yaml:"description"`
	Type           string         `yaml:"type"` // text, library, sql or custom; library where the file says nothing
	Metric         string         `yaml:"metric"`
	Rule           string         `yaml:"rule"` // the standard's old name for Metric
	Arguments      map[string]any `yaml:"arguments"`
	Query          string         `yaml:"query"`
	Engine         string         `yaml:"engine"`
	Implementation any            `yaml:"implementation"`
	Dimension      string         `yaml:"dimension"`
	Severity       string         `yaml:"severity"`
	Unit           string         `yaml:"unit"`
	BusinessImpact string         `yaml:"businessImpact"`
	Method         string         `yaml:"method"`
	Scheduler      string         `yaml:"scheduler"`
	Schedule       string         `yaml:"schedule"`
	Tags           []string       `yaml:"tags"`

	MustBe                 any       `yaml:"mustBe"`
	MustNotBe              any       `yaml:"mustNotBe"`
	MustBeGreaterThan      *float64  `yaml:"mustBeGreaterThan"`
	MustBeGreaterOrEqualTo *float64  `yaml:"mustBeGreaterOrEqualTo"`
	MustBeLessThan         *float64  `yaml:"mustBeLessThan"`
	MustBeLessOrEqualTo    *float64  `yaml:"mustBeLessOrEqualTo"`
	MustBeBetween          []float64 `yaml:"mustBeBetween"`
	MustNotBeBetween       []float64 `yaml:"mustNotBeBetween"`

	AuthoritativeDefinitions any              `yaml:"authoritativeDefinitions"`
	CustomProperties         []customProperty `yaml:"customProperties"`
}

// SLA is one service level, as the standard's ServiceLevelAgreementProperty says.
type SLA struct {
	ID          string `yaml:"id"`
	Property    string `yaml:"property"`
	Value       any    `yaml:"value"`
	ValueExt    any    `yaml:"valueExt"`
	Unit        string `yaml:"unit"`
	Element     string `yaml:"element"`
	Driver      string `yaml:"driver"`
	Description string `yaml:"description"`
	Scheduler   string `yaml:"scheduler"`
	Schedule    string `yaml:"schedule"`
}

func decodeDocument(data []byte) (*document, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("file of %d bytes; at most %d are read", len(data), maxFile)
	}
	var doc document
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("file is empty")
		}
		return nil, err
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one YAML document in the file")
	}
	return &doc, nil
}

// custom returns the value of the custom property name, or nil.
func custom(list []customProperty, name string) *yaml.Node {
	for i := range list {
		if list[i].Property == name {
			return &list[i].Value
		}
	}
	return nil
}
