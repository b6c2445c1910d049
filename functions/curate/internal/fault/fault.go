// Package fault says what went wrong with a statement without saying what was in the rows: engines quote values in their errors ("Could not convert string 'Jane Doe' to INT32"), and errors end
// in logs, tables, reports and lineage, which people read who may not see the rows.
//
// It guarantees: of what an engine says of rows only its kind of error and words of a fixed list are kept, types among them, and the name of the column that a cast reads; so a form of message that
// nobody thought of loses its sense rather than its secret. What engines say of statements (a column that is not there, memory that does not suffice) is kept, without the literals of DuckDB's. What is around an
// engine's error, which is our own words, is kept as it is.
//
// It does not: know our own errors that quote a value (they have to leave that), mask rows, or change what errors.Is and errors.As see.
//
// # Decision 2026-11-22: by a list of words, where errors leave the run
//
// Context: DuckDB and Trino have hundreds of messages, with values in single quotes, in double quotes, or bare; a value can hold quotes itself; and some errors are texts by the time somebody keeps
// them. Decision: the engine's error is found in the text by how it begins, and everything behind is reduced to known words; every step's error, every cause of a model and every reason of a rule
// passes here. Consequences: an error that is joined behind an engine's own is only kept whole where the two are still errors (Text walks the tree); a person who runs curate query sees the engine's own
// words, since that person reads the rows as well.
package fault

import (
	"regexp"
	"strings"
)

// Hide returns an error that says what err says, without values. It wraps err; it is err where that quotes none, and nil for nil.
func Hide(err error) error {
	if err == nil {
		return nil
	}
	text := Text(err)
	if text == err.Error() {
		return err
	}
	return &hidden{text, err}
}

type hidden struct {
	text string
	err  error
}

func (h *hidden) Error() string { return h.text }

func (h *hidden) Unwrap() error { return h.err }

// Text is the error's text without values; "" for nil.
func Text(err error) string {
	if err == nil {
		return ""
	}
	if h, ok := err.(*hidden); ok { //nolint:errorlint // the outermost alone: what wraps it has words of its own
		return h.text
	}
	var inner []error
	switch x := err.(type) { //nolint:errorlint // one step of the tree
	case interface{ Unwrap() []error }:
		inner = x.Unwrap()
	case interface{ Unwrap() error }:
		if e := x.Unwrap(); e != nil {
			inner = []error{e}
		}
	}
	// Each inner error by itself, so that what stands behind one is not taken for a part of it.
	rest, out := err.Error(), strings.Builder{}
	for _, e := range inner {
		if e == nil {
			continue
		}
		own := e.Error()
		at := strings.Index(rest, own)
		if at < 0 || own == "" || begins.MatchString(rest[:at]) { // told in other words, or what is before it is an engine's
			return Clean(err.Error())
		}
		out.WriteString(rest[:at])
		out.WriteString(Text(e))
		rest = rest[at+len(own):]
	}
	out.WriteString(Clean(rest))
	return out.String()
}

var (
	// begins is how an engine's error begins, behind nothing or our own words.
	begins = regexp.MustCompile(`(?:^|[:\s("])(` +
		`(?:[A-Z][A-Za-z]*(?: [A-Za-z]+){0,3} )?Error: ` + // DuckDB
		`|(?:USER_ERROR|INTERNAL_ERROR|INSUFFICIENT_RESOURCES|EXTERNAL): ` + // Trino
		`|(?:cast error|conversion error|invalid input|failed to set value): ` + // DuckDB's driver
		`|sql: Scan error` + // database/sql
		`|strconv\.[A-Za-z]+: parsing ` +
		`|parsing time ` +
		`)`)
	refused = regexp.MustCompile(`Trino refused \(([A-Z_]+)\)`)
	// ofStatements are DuckDB's kinds of errors that tell of the statement, the machine or the files, not of rows.
	ofStatements = regexp.MustCompile(`^(?:Binder|Catalog|Parser|Syntax|Planner|Not implemented|Out of Memory|IO|INTERRUPT|Permission|Settings|Invalid Configuration|Missing Extension|Extension Autoloading|Connection|TransactionContext|Dependency) Error: `)
	// ofQueries are Trino's, by name.
	ofQueries = regexp.MustCompile(`^(?:SYNTAX_ERROR|[A-Z]+_NOT_FOUND|[A-Z]+_ALREADY_EXISTS|TYPE_MISMATCH|AMBIGUOUS_NAME|MISSING_[A-Z_]+|DUPLICATE_[A-Z_]+|EXPRESSION_NOT_[A-Z_]+|NOT_SUPPORTED|PERMISSION_DENIED|EXCEEDED_[A-Z_]+|CLUSTER_OUT_OF_MEMORY|QUERY_[A-Z_]+|ABANDONED_[A-Z]+|SERVER_[A-Z_]+|NO_NODES_AVAILABLE)$`)
	quoted    = regexp.MustCompile(`'[^']*'`)
	anyQuotes = regexp.MustCompile(`'[^']*'|"[^"]*"`)
	excerpt   = regexp.MustCompile(`(?s)\s*LINE \d+:.*`)
	// ofColumn stands behind the last quote or cut.
	ofColumn = regexp.MustCompile(`^.[^'"` + cut + `]*?(when casting from source column [A-Za-z_][A-Za-z0-9_]*)\s*$`)
	word     = regexp.MustCompile(`DECIMAL\(\d{1,2},\d{1,2}\)|[A-Za-z][A-Za-z0-9_']*|[^A-Za-z]+`)
)

// tempLimit is how DuckDB names its limit of files in scratch, by which it is known that these lack room, also where there is only the text.
const tempLimit = "'max_temp_directory_size'"

// cut stands for what is left out.
const cut = "…"

// Clean is Text of an error of which there is only the text. It may be called twice.
func Clean(text string) string {
	at := begins.FindStringSubmatchIndex(text)
	if at == nil {
		return text
	}
	before, kind, message := text[:at[2]], text[at[2]:at[3]], text[at[3]:]
	if name := refused.FindStringSubmatch(before); name != nil && ofQueries.MatchString(name[1]) {
		return text
	}
	if ofStatements.MatchString(kind) {
		// The place in the statement is of use, its literals are not; a long line is shown from its middle, where a literal may begin before.
		if place := excerpt.FindString(message); strings.Contains(place, "'") {
			message = strings.TrimSuffix(message, place)
		}
		return before + kind + quoted.ReplaceAllStringFunc(message, func(literal string) string {
			if literal == tempLimit {
				return literal
			}
			return "'" + cut + "'"
		})
	}
	return before + strings.TrimRight(kind, " ") + " " + known(message)
}

// known is the message with nothing but known words, and the column that was cast: it stands behind the value, whatever that holds.
func known(message string) string {
	message = excerpt.ReplaceAllString(message, "")
	column := ""
	if i := strings.LastIndexAny(message, `'"`+cut); i >= 0 {
		if m := ofColumn.FindStringSubmatchIndex(message[i:]); m != nil {
			column, message = " "+message[i+m[2]:i+m[3]], message[:i+m[2]]
		}
	}
	message = anyQuotes.ReplaceAllString(message, cut)
	var out strings.Builder
	gap := false
	for _, w := range word.FindAllString(message, -1) {
		switch {
		case strings.TrimSpace(w) == "":
		case words[strings.ToLower(w)] || types[w] || strings.HasPrefix(w, "DECIMAL("):
			if out.Len() > 0 {
				out.WriteByte(' ')
			}
			out.WriteString(w)
			gap = false
		case !gap:
			if out.Len() > 0 {
				out.WriteByte(' ')
			}
			out.WriteString(cut)
			gap = true
		}
	}
	return out.String() + column
}

// words are those that engines make their messages of. A value that consists of them is none that tells of somebody.
var words = set(`a an and any are argument arguments as at base64 be because big by byte bytes can't cannot cast casting column constant convert converted converting could create date day decimal
	decode destination digits divide division does element empty end error escape expected expression extract factorial failed field for format found from function greater has have hex hour in index
	infinite infinity input integer interval invalid is it json large length less limit list logarithm long malformed map maximum memory minimum minute missing month more multiplication must name
	negative no not null number numeric of on one only operator or out overflow parse parsing path pattern precision range read recognized regexp regular result returned root row scalar scale scan second
	sequence single size small source specifier square string struct subquery substring subtraction addition sum supported syntax than the time timestamp timezone to too type unexpected unicode union unit unknown
	unsupported used using utf8 utf8 value values varchar when while with year zero zone boolean bigint double real tinyint smallint bool char json_value modulo negation exponent`)

// types are engines' names of types.
var types = set(`INT8 INT16 INT32 INT64 INT128 UINT8 UINT16 UINT32 UINT64 UINT128 INTEGER BIGINT HUGEINT SMALLINT TINYINT DOUBLE FLOAT REAL DECIMAL BOOL BOOLEAN VARCHAR BLOB VARBINARY DATE TIME TIMESTAMP
	TIMESTAMPTZ INTERVAL UUID STRUCT LIST MAP ROW ARRAY JSON NULL`)

func set(list string) map[string]bool {
	all := map[string]bool{}
	for _, w := range strings.Fields(list) {
		all[w] = true
	}
	return all
}
