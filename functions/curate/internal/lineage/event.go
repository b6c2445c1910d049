package lineage

import (
	"strings"
	"time"
)

const (
	producer = "urn:millrace:curate"
	core     = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
	facets   = "https://openlineage.io/spec/facets/"
	// messageLength bounds an error's text, in bytes: services keep it in a column.
	messageLength = 4096
)

type event struct {
	Type      string       `json:"eventType"`
	Time      string       `json:"eventTime"`
	Producer  string       `json:"producer"`
	SchemaURL string       `json:"schemaURL"`
	Run       runPart      `json:"run"`
	Job       jobPart      `json:"job"`
	Inputs    []inputPart  `json:"inputs"`
	Outputs   []outputPart `json:"outputs"`
}

type runPart struct {
	ID     string         `json:"runId"`
	Facets map[string]any `json:"facets,omitempty"`
}

type jobPart struct {
	Namespace string         `json:"namespace"`
	Name      string         `json:"name"`
	Facets    map[string]any `json:"facets,omitempty"`
}

type datasetPart struct {
	Namespace string         `json:"namespace"`
	Name      string         `json:"name"`
	Facets    map[string]any `json:"facets,omitempty"`
}

type inputPart struct {
	datasetPart
	InputFacets map[string]any `json:"inputFacets,omitempty"`
}

type outputPart struct {
	datasetPart
	OutputFacets map[string]any `json:"outputFacets,omitempty"`
}

// base is what every facet begins with.
type base struct {
	Producer  string `json:"_producer"`
	SchemaURL string `json:"_schemaURL"`
}

func facet(version, name string) base {
	return base{producer, facets + version + "/" + name + ".json#/$defs/" + name}
}

func (r *Run) event(kind string, inputs []Input, outputs []Output, err error) event {
	e := event{
		Type: kind, Time: r.emitter.config.Clock().UTC().Format(time.RFC3339Nano), Producer: producer, SchemaURL: core,
		Run:    runPart{ID: r.id, Facets: r.runFacets(err)},
		Job:    jobPart{Namespace: r.emitter.config.Namespace, Name: r.job.Name, Facets: r.jobFacets()},
		Inputs: make([]inputPart, 0, len(inputs)), Outputs: make([]outputPart, 0, len(outputs)),
	}
	for _, in := range inputs {
		part := inputPart{datasetPart: in.part()}
		if len(in.Assertions) > 0 {
			part.InputFacets = map[string]any{"dataQualityAssertions": struct {
				base
				Assertions []Assertion `json:"assertions"`
			}{facet("1-1-0", "DataQualityAssertionsDatasetFacet"), in.Assertions}}
		}
		e.Inputs = append(e.Inputs, part)
	}
	for _, out := range outputs {
		part := outputPart{datasetPart: out.part()}
		// What a job will have written is known at its end alone: statistics at the start would read as zero rows.
		if kind != "START" {
			part.OutputFacets = map[string]any{"outputStatistics": struct {
				base
				Rows  int64 `json:"rowCount"`
				Bytes int64 `json:"size"`
				Files int64 `json:"fileCount"`
			}{facet("1-0-2", "OutputStatisticsOutputDatasetFacet"), out.Rows, out.Bytes, out.Files}}
		}
		e.Outputs = append(e.Outputs, part)
	}
	return e
}

func (d Dataset) part() datasetPart {
	p := datasetPart{Namespace: d.Namespace, Name: d.Name, Facets: map[string]any{}}
	if len(d.Fields) > 0 {
		p.Facets["schema"] = struct {
			base
			Fields []Field `json:"fields"`
		}{facet("1-2-0", "SchemaDatasetFacet"), d.Fields}
	}
	if d.Table != "" {
		type identifier struct {
			Namespace string `json:"namespace"`
			Name      string `json:"name"`
			Type      string `json:"type"`
		}
		p.Facets["symlinks"] = struct {
			base
			Identifiers []identifier `json:"identifiers"`
		}{facet("1-0-1", "SymlinksDatasetFacet"), []identifier{{d.Namespace, d.Table, "TABLE"}}}
	}
	return p
}

func (r *Run) runFacets(err error) map[string]any {
	all := map[string]any{}
	if p := r.parent; p != nil {
		all["parent"] = struct {
			base
			Run runPart `json:"run"`
			Job jobPart `json:"job"`
		}{facet("1-2-0", "ParentRunFacet"), runPart{ID: p.id}, jobPart{Namespace: p.emitter.config.Namespace, Name: p.job.Name}}
	}
	if r.job.Engine != "" {
		all["processing_engine"] = struct {
			base
			Name    string `json:"name"`
			Version string `json:"version"`
		}{facet("1-1-1", "ProcessingEngineRunFacet"), r.job.Engine, orUnknown(r.job.EngineIs)}
	}
	if err != nil {
		text := err.Error()
		if len(text) > messageLength {
			text = text[:messageLength]
		}
		all["errorMessage"] = struct {
			base
			Message  string `json:"message"`
			Language string `json:"programmingLanguage"`
		}{facet("1-0-1", "ErrorMessageRunFacet"), strings.ToValidUTF8(text, ""), "GO"}
	}
	return all
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func (r *Run) jobFacets() map[string]any {
	all := map[string]any{}
	if r.job.Kind != "" {
		all["jobType"] = struct {
			base
			Processing  string `json:"processingType"`
			Integration string `json:"integration"`
			Kind        string `json:"jobType"`
		}{facet("2-0-4", "JobTypeJobFacet"), "BATCH", "MILLRACE", r.job.Kind}
	}
	if r.job.SQL != "" {
		all["sql"] = struct {
			base
			Query string `json:"query"`
		}{facet("1-1-0", "SQLJobFacet"), r.job.SQL}
	}
	if r.job.Description != "" {
		all["documentation"] = struct {
			base
			Description string `json:"description"`
		}{facet("1-1-0", "DocumentationJobFacet"), r.job.Description}
	}
	return all
}
