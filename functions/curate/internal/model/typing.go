package model

import (
	"slices"
	"strings"
)

// typeName is the type that stands from i up to j.
func (l *linter) typeName(i, j int) string {
	var b strings.Builder
	for ; i < j; i++ {
		b.WriteString(l.ts[i].text + " ")
	}
	return kindOf(strings.TrimSpace(b.String()))
}

// kindOf is a type without what does not matter here.
func kindOf(t string) string {
	t = strings.ToLower(strings.TrimSpace(t))
	zone := strings.HasSuffix(t, "with time zone")
	t, _, _ = strings.Cut(t, "(")
	t = strings.TrimSpace(t)
	switch t {
	case "tinyint", "smallint", "integer", "int", "bigint":
		return "integer"
	case "double", "real", "float":
		return "double"
	case "decimal", "numeric":
		return "decimal"
	case "varchar", "char", "string", "text":
		return "varchar"
	case "timestamptz":
		return t
	}
	if strings.HasPrefix(t, "timestamp") {
		if zone {
			return "timestamptz"
		}
		return "timestamp"
	}
	return t
}

// aliases gives names that the query makes their types, and takes the type from a name that has two.
func (l *linter) aliases() {
	own := map[string]string{}
	for i := range l.ts {
		if !l.ts[i].is("as") || !l.at(i+1).name() || l.at(i+2).is("(") || l.up[i] >= 0 && l.at(l.up[i]-1).is("cast", "try_cast") || l.at(i+1).is("materialized") {
			continue
		}
		if !l.at(i+2).is(",", "from", ")") && l.at(i+2).kind != end {
			continue
		}
		if l.ofTable(i) {
			continue
		}
		name := strings.ToLower(l.ts[i+1].text)
		from := l.itemStart(i)
		t := l.typeOf(from, i)
		if other, ok := own[name]; ok && other != t {
			t = ""
		}
		own[name] = t
	}
	for n, t := range own {
		if other, ok := l.types[n]; ok && other != t {
			t = ""
		}
		l.types[n] = t
	}
}

var comparisons = []string{"=", "<>", "!=", "<", "<=", ">", ">="}

// typeOf is the type of the expression from i up to j.
func (l *linter) typeOf(i, j int) string {
	for l.at(i).is("(") && l.match[i] == j-1 {
		i, j = i+1, j-1
	}
	if i >= j {
		return ""
	}
	var operands [][2]int
	var ops []string
	for k := i; k < j; {
		e := l.primary(k)
		if e <= k || e > j {
			return ""
		}
		operands = append(operands, [2]int{k, e})
		if e == j {
			break
		}
		op := l.at(e)
		switch {
		case op.is(comparisons...), op.is("and", "or", "is", "in", "between", "like", "not", "exists"):
			return "boolean"
		case op.is("||"):
			return "varchar"
		case !op.is("+", "-", "*", "/", "%"):
			return ""
		}
		ops = append(ops, op.text)
		k = e + 1
	}
	if len(operands) == 1 {
		return l.primaryType(operands[0][0], operands[0][1])
	}
	seen := map[string]bool{}
	for _, o := range operands {
		seen[l.typeOf(o[0], o[1])] = true
	}
	switch {
	case seen["timestamp"] && slices.Contains(ops, "-") && len(seen) == 1, seen["date"] && slices.Contains(ops, "-") && len(seen) == 1:
		return "interval"
	case seen["timestamptz"]:
		return "timestamptz"
	case seen["timestamp"]:
		return "timestamp"
	case seen["date"]:
		return "date"
	case seen["double"]:
		return "double"
	case seen[""]:
		return ""
	case seen["decimal"]:
		return "decimal"
	case len(seen) == 1 && seen["integer"]:
		return "integer"
	}
	return ""
}

// resultTypes are the types of functions; "1", "2" mean that of the argument.
var resultTypes = map[string]string{
	"count": "integer", "count_if": "integer", "length": "integer", "strpos": "integer", "position": "integer", "cardinality": "integer", "year": "integer", "month": "integer", "day": "integer",
	"hour": "integer", "minute": "integer", "second": "integer", "quarter": "integer", "week": "integer", "day_of_week": "integer", "extract": "integer", "date_diff": "integer", "row_number": "integer",
	"rank": "integer", "dense_rank": "integer", "ntile": "integer", "grouping": "integer", "json_array_length": "integer",
	"lower": "varchar", "upper": "varchar", "trim": "varchar", "ltrim": "varchar", "rtrim": "varchar", "substr": "varchar", "substring": "varchar", "replace": "varchar", "reverse": "varchar", "lpad": "varchar",
	"rpad": "varchar", "split_part": "varchar", "concat_ws": "varchar", "regexp_extract": "varchar", "regexp_replace": "varchar", "to_hex": "varchar", "json_extract_scalar": "varchar",
	"json_format": "varchar", "array_join": "varchar",
	"avg": "double", "ln": "double", "log": "double", "log10": "double", "power": "double", "sqrt": "double", "stddev": "double", "stddev_pop": "double", "stddev_samp": "double", "variance": "double",
	"var_pop": "double", "var_samp": "double", "percent_rank": "double", "cume_dist": "double", "to_unixtime": "double",
	"json_extract": "json", "json_parse": "json", "from_unixtime": "timestamptz", "from_iso8601_timestamp": "timestamptz", "now": "timestamptz", "last_day_of_month": "date",
	"starts_with": "boolean", "regexp_like": "boolean", "contains": "boolean", "is_nan": "boolean", "bool_and": "boolean", "bool_or": "boolean",
	"split": "array", "array_agg": "array", "array_sort": "array", "array_distinct": "array", "sequence": "array", "filter": "array", "map_keys": "array", "map": "map", "histogram": "map", "map_from_entries": "map",
	"sum": "1", "min": "1", "max": "1", "any_value": "1", "arbitrary": "1", "coalesce": "1", "nullif": "1", "abs": "1", "round": "1", "ceil": "1", "floor": "1", "greatest": "1", "least": "1", "first_value": "1",
	"last_value": "1", "nth_value": "1", "lag": "1", "lead": "1", "try": "1", "max_by": "1", "min_by": "1", "mod": "1", "date_trunc": "2", "if": "2", "date_add": "3",
}

func (l *linter) primaryType(i, j int) string {
	for l.at(i).is("-", "+") {
		i++
	}
	t := l.at(i)
	switch {
	case t.is("not"):
		return "boolean"
	case t.kind == str && j == i+1:
		return "varchar"
	case t.kind == number && j == i+1:
		switch {
		case strings.ContainsAny(t.text, "e"):
			return "double"
		case strings.Contains(t.text, "."):
			return "decimal"
		}
		return "integer"
	case t.is("true", "false"):
		return "boolean"
	case t.is("null"):
		return ""
	case t.is("interval"):
		return "interval"
	case t.is("case"):
		return l.caseType(i, j)
	case t.is("current_date"):
		return "date"
	case t.is("current_timestamp"):
		return "timestamptz"
	case t.is("localtimestamp"):
		return "timestamp"
	case t.is("array") && l.at(i+1).is("[") && l.match[i+1] == j-1:
		return "array"
	case t.is("(") && l.match[i] == j-1:
		return l.typeOf(i+1, j-1)
	case j >= i+4 && l.at(j-4).is("at") && l.at(j-3).is("time"):
		return "timestamptz"
	case t.is("date", "timestamp", "uuid", "decimal") && l.at(i+1).kind == str && j == i+2:
		if t.is("timestamp") && !plainTimestamp.MatchString(l.ts[i+1].text) {
			return "timestamptz"
		}
		return t.text
	case t.is("cast", "try_cast") && l.at(i+1).is("(") && l.match[i+1] == j-1:
		if as := l.castAs(i); as >= 0 {
			return l.typeName(as+1, j-1)
		}
		return ""
	case t.name() && l.at(i+1).is("(") && l.at(l.match[i+1]+1).is("[", ".") && l.match[i+1] < j-1:
		return ""
	case t.name() && l.at(i+1).is("("):
		switch r := resultTypes[t.text]; r {
		case "1", "2", "3":
			args := l.args(i)
			n := int(r[0] - '1')
			for k, a := range args {
				if k >= n {
					if typ := l.typeOf(a[0], a[1]); typ != "" || n > 0 {
						return typ
					}
				}
			}
			return ""
		default:
			return r
		}
	case t.name():
		last := j - 1
		if l.at(last).name() && !l.at(last).is("end") {
			return l.types[strings.ToLower(l.ts[last].text)]
		}
	}
	return ""
}

// caseType is the type of the first branch of which one is known.
func (l *linter) caseType(i, j int) string {
	depth := 0
	for k := i; k < j; k++ {
		switch {
		case l.ts[k].is("case"):
			depth++
		case l.ts[k].is("end"):
			depth--
		case depth == 1 && l.up[k] == l.up[i] && l.ts[k].is("then", "else"):
			e := k + 1
			inner := 0
			for ; e < j; e++ {
				if l.ts[e].is("case") {
					inner++
				}
				if inner == 0 && l.up[e] == l.up[i] && l.ts[e].is("when", "else", "end") {
					break
				}
				if l.ts[e].is("end") {
					inner--
				}
			}
			if t := l.typeOf(k+1, e); t != "" {
				return t
			}
		}
	}
	return ""
}
