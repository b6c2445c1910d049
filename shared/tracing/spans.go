package tracing

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// Spans say whether spans are made and where they go, in OpenTelemetry's own variables as far as they are read here. Functions embed them in their configuration; without an endpoint nothing else of them counts.
type Spans struct {
	Endpoint       string `envconfig:"OTEL_EXPORTER_OTLP_ENDPOINT" desc:"where spans go, such as http://host:4318; empty: nowhere. This and what follows is OpenTelemetry's"`
	TracesEndpoint string `envconfig:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" desc:"in its place, with the path, which is /v1/traces else"`
	Protocol       string `envconfig:"OTEL_EXPORTER_OTLP_PROTOCOL" default:"http/protobuf" desc:"there is no other"`
	Headers        Secret `envconfig:"OTEL_EXPORTER_OTLP_HEADERS" desc:"name=value,...: sent with spans, percent-encoded; secret"`
	HeadersFile    string `envconfig:"OTEL_EXPORTER_OTLP_HEADERS_FILE" desc:"a file that holds them, read at each request; ours, not OpenTelemetry's"`
	Service        string `envconfig:"OTEL_SERVICE_NAME" desc:"else the function's name"`
	Resource       string `envconfig:"OTEL_RESOURCE_ATTRIBUTES" desc:"name=value,...: said of all spans"`
	Sampler        string `envconfig:"OTEL_TRACES_SAMPLER" default:"parentbased_always_on" desc:"always_on, always_off, traceidratio, each with parentbased_ before it or not"`
	SamplerArg     string `envconfig:"OTEL_TRACES_SAMPLER_ARG" desc:"the ratio, from 0 to 1"`
	Disabled       bool   `envconfig:"OTEL_SDK_DISABLED" default:"false" desc:"true: no spans"`
}

// Secret is a text that is never printed, whatever formats, logs or encodes it. string(s) is the text.
type Secret string

// Format implements fmt.Formatter, for every verb.
func (s Secret) Format(f fmt.State, _ rune) {
	if s != "" {
		_, _ = io.WriteString(f, "(secret)") // fmt reports what its own writer cannot take
	}
}

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte(fmt.Sprint(s)), nil }

// On reports whether spans are made.
func (s Spans) On() bool { return !s.Disabled && (s.Endpoint != "" || s.TracesEndpoint != "") }

// Validate joins everything that is wrong, of which no text quotes a header or an address. Without an endpoint nothing is.
func (s Spans) Validate() error {
	if !s.On() {
		return nil
	}
	var errs []error
	if _, err := s.address(); err != nil {
		errs = append(errs, err)
	}
	if s.Protocol != "" && s.Protocol != "http/protobuf" {
		errs = append(errs, errors.New("OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf, whose port is 4318 as a rule"))
	}
	if s.Headers != "" && s.HeadersFile != "" {
		errs = append(errs, errors.New("OTEL_EXPORTER_OTLP_HEADERS and OTEL_EXPORTER_OTLP_HEADERS_FILE are both set"))
	}
	if _, err := pairs(string(s.Headers), true); err != nil {
		errs = append(errs, fmt.Errorf("OTEL_EXPORTER_OTLP_HEADERS: %w", err))
	}
	if _, err := pairs(s.Resource, false); err != nil {
		errs = append(errs, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err))
	}
	if _, err := s.sampler(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// address returns where spans are posted to.
func (s Spans) address() (*url.URL, error) {
	name, text := "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", s.TracesEndpoint
	if text == "" {
		name, text = "OTEL_EXPORTER_OTLP_ENDPOINT", s.Endpoint
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Fragment != "" {
		return nil, fmt.Errorf("%s must be http://host:port or https://host:port", name) // it can hold a password
	}
	if s.TracesEndpoint == "" {
		u = u.JoinPath("v1", "traces")
	}
	return u, nil
}

// headers returns what is sent with each request; what it reads from a file can change.
func (s Spans) headers() (http.Header, error) {
	text := string(s.Headers)
	if s.HeadersFile != "" {
		b, err := os.ReadFile(s.HeadersFile)
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_HEADERS_FILE: %w", err)
		}
		text = strings.ReplaceAll(strings.TrimSpace(string(b)), "\n", ",")
	}
	list, err := pairs(text, true)
	if err != nil {
		return nil, err
	}
	h := make(http.Header, len(list)+1)
	for _, p := range list {
		h.Add(p[0], p[1])
	}
	return h, nil
}

// pairs reads name=value,... with values percent-encoded. The error quotes neither.
func pairs(text string, header bool) (list [][2]string, err error) {
	n := 0
	for p := range strings.SplitSeq(text, ",") {
		n++
		if strings.TrimSpace(p) == "" {
			continue
		}
		name, value, ok := strings.Cut(p, "=")
		name = strings.TrimSpace(name)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || name == "" || err != nil || header && (strings.Trim(name, tokens) != "" || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f })) {
			return nil, fmt.Errorf("number %d is not name=value, percent-encoded", n)
		}
		list = append(list, [2]string{name, value})
	}
	return list, nil
}

const tokens = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"

func (s Spans) sampler() (sdk.Sampler, error) {
	name := s.Sampler
	if name == "" {
		name = "parentbased_always_on"
	}
	root, byParent := strings.CutPrefix(name, "parentbased_")
	var sampler sdk.Sampler
	switch root {
	case "always_on":
		sampler = sdk.AlwaysSample()
	case "always_off":
		sampler = sdk.NeverSample()
	case "traceidratio":
		ratio := 1.0
		if s.SamplerArg != "" {
			var err error
			if ratio, err = strconv.ParseFloat(s.SamplerArg, 64); err != nil || !(ratio >= 0 && ratio <= 1) {
				return nil, errors.New("OTEL_TRACES_SAMPLER_ARG must be a ratio from 0 to 1")
			}
		}
		sampler = sdk.TraceIDRatioBased(ratio)
	default:
		return nil, errors.New("OTEL_TRACES_SAMPLER must be always_on, always_off or traceidratio, or one of them behind parentbased_")
	}
	if byParent {
		return linked{sdk.ParentBased(sampler)}, nil
	}
	return sampler, nil
}

// linked samples a root span that has links to sampled ones: the events of a batch are its parents, of which a span can have one only.
type linked struct{ sdk.Sampler }

// ShouldSample implements sdk.Sampler.
func (l linked) ShouldSample(p sdk.SamplingParameters) sdk.SamplingResult {
	r := l.Sampler.ShouldSample(p)
	if r.Decision != sdk.Drop || spanContextOf(p.ParentContext).IsValid() {
		return r
	}
	for _, link := range p.Links {
		if link.SpanContext.IsSampled() {
			r.Decision = sdk.RecordAndSample
			break
		}
	}
	return r
}
