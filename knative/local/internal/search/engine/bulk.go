package engine

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// parseBulk splits a _bulk body into operations. Any malformed action line refuses the whole request, as Elasticsearch does,
// because what follows it cannot be told apart; a malformed document fails only its item.
func parseBulk(body, defaultIndex string, requireAlias bool) ([]*op, error) {
	if body == "" {
		return nil, fail(http.StatusBadRequest, "parse_exception", "request body is required")
	}
	var ops []*op
	var invalid []string
	for lineNumber := 1; body != ""; lineNumber++ {
		line, rest, terminated := strings.Cut(body, "\n")
		if !terminated {
			return nil, illegal("The bulk request must be terminated by a newline [\\n]")
		}
		body = rest
		if strings.TrimSpace(line) == "" {
			continue
		}
		o, err := parseAction(line, lineNumber, defaultIndex)
		if err != nil {
			return nil, err
		}
		o.requireAlias = o.requireAlias || requireAlias
		if o.action != "delete" {
			if body == "" {
				break // as in Elasticsearch, an action without a document is none
			}
			source, rest, terminated := strings.Cut(body, "\n")
			if !terminated {
				return nil, illegal("The bulk request must be terminated by a newline [\\n]")
			}
			body = rest
			o.source = strings.TrimSuffix(source, "\r")
			lineNumber++
		}
		invalid = append(invalid, validate(o)...)
		ops = append(ops, o)
	}
	if len(ops) == 0 {
		invalid = append(invalid, "no requests added")
	}
	if err := invalidRequest(invalid); err != nil {
		return nil, err
	}
	return ops, nil
}

func invalidRequest(reasons []string) error {
	if len(reasons) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString("Validation Failed: ")
	for i, r := range reasons {
		fmt.Fprintf(&b, "%d: %s;", i+1, r)
	}
	return fail(http.StatusBadRequest, "action_request_validation_exception", "%s", b.String())
}

// validate lists what makes an operation impossible whatever the index holds.
func validate(o *op) []string {
	var out []string
	if o.index == "" {
		out = append(out, "index is missing")
	}
	if len(o.id) > 512 {
		out = append(out, fmt.Sprintf("id [%s] is too long, must be no longer than 512 bytes but was: %d", o.id, len(o.id)))
	}
	if o.action == "create" && (o.external != "" || o.version >= 0) {
		out = append(out, "create operations only support internal versioning. use index instead")
	} else if o.external == "" && o.version >= 0 {
		out = append(out, "internal versioning can not be used for optimistic concurrency control. Please use `if_seq_no` and `if_primary_term` instead")
	}
	if o.external != "" && o.version < 0 {
		out = append(out, fmt.Sprintf("illegal version value [%d] for version type [%s]", o.version, strings.ToUpper(o.external)))
	}
	if o.external != "" && o.id == "" && o.action == "index" {
		out = append(out, "an id must be provided if version type or value are set")
	}
	if (o.ifSeq >= 0) != (o.ifTerm > 0) {
		out = append(out, "ifSeqNo and primary term must be set together")
	}
	if o.action == "delete" && o.id == "" {
		out = append(out, "id is missing")
	}
	return out
}

func newOp(action, index, id string) *op {
	return &op{action: action, index: index, id: id, version: -1, ifSeq: -1}
}

func parseAction(line string, lineNumber int, defaultIndex string) (*op, error) {
	n, err := parseJSON(line)
	if err != nil {
		return nil, syntax(err)
	}
	if n.kind != kindObject {
		return nil, illegal("Malformed action/metadata line [%d], expected START_OBJECT but found [%s]", lineNumber, n.token())
	}
	if len(n.fields) != 1 {
		found := "END_OBJECT"
		if len(n.fields) > 1 {
			found = "FIELD_NAME"
		}
		return nil, illegal("Malformed action/metadata line [%d], expected FIELD_NAME but found [%s]", lineNumber, found)
	}
	action, meta := n.fields[0].key, &n.fields[0].val
	switch action {
	case "index", "create", "delete":
	case "update":
		return nil, unsupported("action [update] on line [%d]", lineNumber)
	default:
		return nil, illegal("Malformed action/metadata line [%d], expected field [create], [delete], [index] or [update] but found [%s]", lineNumber, action)
	}
	if meta.kind != kindObject {
		return nil, illegal("Malformed action/metadata line [%d], expected START_OBJECT but found [%s]", lineNumber, meta.token())
	}
	o := newOp(action, defaultIndex, "")
	for i := range meta.fields {
		key, v := meta.fields[i].key, &meta.fields[i].val
		if v.kind == kindObject || v.kind == kindArray {
			return nil, illegal("Malformed action/metadata line [%d], expected a simple value for field [%s] but found [%s]", lineNumber, key, v.token())
		}
		if v.kind == kindNull {
			continue
		}
		if err := o.set(key, v.text(), lineNumber); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (o *op) set(key, v string, lineNumber int) error {
	integer := func(to *int64) error {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return illegal("Failed to parse long parameter [%s] with value [%s]", key, v)
		}
		*to = n
		return nil
	}
	switch key {
	case "_index":
		o.index = v
	case "_id":
		if v == "" {
			o.refused = illegal("if _id is specified it must not be empty")
		}
		o.id = v
	case "version", "_version":
		return integer(&o.version)
	case "version_type", "_version_type":
		switch v {
		case "internal":
		case "external", "external_gt":
			o.external = "external"
		case "external_gte":
			o.external = v
		default:
			return illegal("No version type match [%s]", v)
		}
	case "if_seq_no":
		return integer(&o.ifSeq)
	case "if_primary_term":
		return integer(&o.ifTerm)
	case "require_alias":
		switch v {
		case "true":
			o.requireAlias = true
		case "false":
		default:
			return illegal("Failed to parse value [%s] as only [true] or [false] are allowed.", v)
		}
	case "routing", "pipeline", "dynamic_templates", "require_data_stream", "retry_on_conflict", "list_executed_pipelines", "op_type":
		return unsupported("parameter [%s] on line [%d]", key, lineNumber)
	default:
		return illegal("Action/metadata line [%d] contains an unknown parameter [%s]", lineNumber, key)
	}
	return nil
}

// bulk applies all operations in one transaction: each item succeeds or fails for itself, and what is answered as written
// is committed.
func (s *store) bulk(ctx context.Context, ops []*op) ([]outcome, error) {
	out := make([]outcome, 0, len(ops))
	err := s.update(ctx, func(b *batch) error {
		for _, o := range ops {
			r, err := b.apply(o)
			if err != nil {
				return err
			}
			out = append(out, r)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Server) bulk(r *request) (any, error) {
	requireAlias, err := r.flag("require_alias", false)
	if err != nil {
		return nil, err
	}
	if err := r.refreshParam(); err != nil {
		return nil, err
	}
	began := time.Now()
	ops, err := parseBulk(r.body, r.segment("index"), requireAlias)
	if err != nil {
		return nil, err
	}
	outcomes, err := s.store.bulk(r.ctx(), ops)
	if err != nil {
		return nil, err
	}
	failed := false
	items := make([]map[string]any, len(outcomes))
	replicas, forced := s.replicas(), r.forcesRefresh()
	for i := range outcomes {
		o := &outcomes[i]
		failed = failed || o.err != nil
		items[i] = map[string]any{o.op.action: o.render(replicas, forced, true)}
	}
	return map[string]any{"errors": failed, "took": time.Since(began).Milliseconds(), "items": items}, nil
}

// itemAnswer is one document operation's answer.
type itemAnswer struct {
	Index   string         `json:"_index"`
	ID      string         `json:"_id"`
	Version *int64         `json:"_version,omitempty"`
	Result  string         `json:"result,omitempty"`
	Shards  *shardCount    `json:"_shards,omitempty"`
	Forced  bool           `json:"forced_refresh,omitempty"`
	Seq     *int64         `json:"_seq_no,omitempty"`
	Term    int            `json:"_primary_term,omitempty"`
	Status  int            `json:"status,omitempty"`
	Error   map[string]any `json:"error,omitempty"`
}

type shardCount struct {
	Total      int `json:"total"`
	Successful int `json:"successful"`
	Failed     int `json:"failed"`
}

// render makes the item's answer. A refresh needs no forcing here, but whoever asked for it is told so.
func (o *outcome) render(replicas func(string) int, forced, status bool) itemAnswer {
	a := itemAnswer{Index: o.op.index, ID: o.op.id}
	if status {
		a.Status = o.status
	}
	if o.err != nil {
		a.Error = o.err.object()
		return a
	}
	a.Version, a.Seq, a.Term, a.Result, a.Forced = &o.version, &o.seq, 1, o.result, forced
	a.Shards = &shardCount{Total: 1 + replicas(o.op.index), Successful: 1}
	return a
}
