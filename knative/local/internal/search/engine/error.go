package engine

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
)

// apiError is an error in Elasticsearch's shape: a status, a type a client may branch on, and a reason.
type apiError struct {
	status int
	typ    string
	reason string
	extra  map[string]any
	cause  *apiError
	// plain makes the body {"error": reason}, as Elasticsearch's router answers.
	plain bool
	// shard makes the body one of a search that failed on every shard.
	shard string
}

func (e *apiError) Error() string { return e.typ + ": " + e.reason }

func fail(status int, typ, format string, args ...any) *apiError {
	return &apiError{status: status, typ: typ, reason: fmt.Sprintf(format, args...)}
}

func illegal(format string, args ...any) *apiError {
	return fail(http.StatusBadRequest, "illegal_argument_exception", format, args...)
}

// unsupported refuses what Elasticsearch has and this subset has not.
func unsupported(format string, args ...any) *apiError {
	return illegal("not supported by the embedded search: "+format, args...)
}

func parsing(off int, format string, args ...any) *apiError {
	e := fail(http.StatusBadRequest, "parsing_exception", format, args...)
	e.extra = map[string]any{"line": 1, "col": off + 1}
	return e
}

func (e *apiError) causedBy(c *apiError) *apiError { e.cause = c; return e }

func (e *apiError) with(kv ...any) *apiError {
	if e.extra == nil {
		e.extra = map[string]any{}
	}
	for i := 0; i+1 < len(kv); i += 2 {
		e.extra[kv[i].(string)] = kv[i+1]
	}
	return e
}

func (e *apiError) object() map[string]any {
	m := map[string]any{"type": e.typ, "reason": e.reason}
	maps.Copy(m, e.extra)
	if e.cause != nil {
		m["caused_by"] = e.cause.object()
	}
	return m
}

func (e *apiError) rootCause() map[string]any {
	m := map[string]any{"type": e.typ, "reason": e.reason}
	maps.Copy(m, e.extra)
	return m
}

func (e *apiError) body() map[string]any {
	if e.plain {
		return map[string]any{"error": e.reason, "status": e.status}
	}
	var o map[string]any
	if e.shard != "" {
		o = map[string]any{
			"type": "search_phase_execution_exception", "reason": "all shards failed", "phase": "query", "grouped": true,
			"failed_shards": []any{map[string]any{"shard": 0, "index": e.shard, "node": nodeID, "reason": e.object()}},
		}
		if e.typ == "illegal_argument_exception" {
			o["caused_by"] = e.object()
		}
	} else {
		o = e.object()
	}
	root := e
	for root.typ == "mapper_parsing_exception" && root.cause != nil {
		root = root.cause
	}
	o["root_cause"] = []any{root.rootCause()}
	return map[string]any{"error": o, "status": e.status}
}

// asAPI turns any error into one in Elasticsearch's shape; what is not a refusal of ours is a 500.
func asAPI(err error) *apiError {
	var a *apiError
	if errors.As(err, &a) {
		return a
	}
	return fail(http.StatusInternalServerError, "exception", "%s", err)
}

// syntax turns malformed JSON in a request into the error Elasticsearch gives for it.
func syntax(err error) *apiError {
	var s *syntaxError
	if !errors.As(err, &s) {
		return asAPI(err)
	}
	if s.eof {
		return fail(http.StatusBadRequest, "x_content_e_o_f_exception", "%s", s).causedBy(fail(http.StatusBadRequest, "json_e_o_f_exception", "%s", s.message))
	}
	if s.extra != "" {
		return parsing(s.off, "Unexpected token [%s] found after the main object.", s.extra)
	}
	return fail(http.StatusBadRequest, "x_content_parse_exception", "%s", s).causedBy(fail(http.StatusBadRequest, "json_parse_exception", "%s", s.message))
}

func indexNotFound(name string) *apiError {
	return fail(http.StatusNotFound, "index_not_found_exception", "no such index [%s]", name).
		with("resource.type", "index_or_alias", "resource.id", name, "index_uuid", "_na_", "index", name)
}
