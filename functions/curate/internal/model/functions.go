package model

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// arity is how many arguments a function takes that both engines answer alike; most -1: any number.
type arity struct{ least, most int }

// shared are the functions of the common language. Those that are not here are refused, whether or not an engine knows them.
var shared = map[string]arity{
	// numbers
	"abs": {1, 1}, "ceil": {1, 1}, "floor": {1, 1}, "round": {1, 2}, "truncate": {1, 1}, "sign": {1, 1}, "mod": {2, 2}, "power": {2, 2}, "sqrt": {1, 1}, "ln": {1, 1}, "log10": {1, 1},
	"is_nan": {1, 1}, "greatest": {2, 2}, "least": {2, 2},
	// strings
	"lower": {1, 1}, "upper": {1, 1}, "trim": {1, 1}, "ltrim": {1, 1}, "rtrim": {1, 1}, "length": {1, 1}, "substr": {2, 3}, "substring": {1, 3}, "strpos": {2, 2}, "position": {1, 1}, "replace": {3, 3},
	"reverse": {1, 1}, "lpad": {3, 3}, "rpad": {3, 3}, "split_part": {3, 3}, "split": {2, 2}, "starts_with": {2, 2}, "concat_ws": {2, -1}, "regexp_like": {2, 2}, "regexp_extract": {2, 3}, "regexp_replace": {3, 3},
	"to_hex": {1, 1}, "md5": {1, 1}, "to_utf8": {1, 1}, "from_base64": {1, 1},
	// dates and times
	"date_trunc": {2, 2}, "extract": {1, 1}, "year": {1, 1}, "quarter": {1, 1}, "month": {1, 1}, "week": {1, 1}, "day": {1, 1}, "hour": {1, 1}, "minute": {1, 1}, "second": {1, 1}, "day_of_week": {1, 1},
	"last_day_of_month": {1, 1}, "date_diff": {3, 3}, "date_add": {3, 3}, "to_unixtime": {1, 1}, "from_unixtime": {1, 1}, "from_iso8601_timestamp": {1, 1}, "now": {0, 0},
	// choice and conversion
	"cast": {1, 1}, "try_cast": {1, 1}, "try": {1, 1}, "coalesce": {1, -1}, "nullif": {2, 2}, "if": {3, 3},
	// JSON
	"json_extract": {2, 2}, "json_extract_scalar": {2, 2}, "json_format": {1, 1}, "json_array_length": {1, 1},
	// arrays, maps and rows
	"cardinality": {1, 1}, "element_at": {2, 2}, "contains": {2, 2}, "array_sort": {1, 1}, "array_join": {2, 2}, "filter": {2, 2}, "sequence": {2, 2}, "unnest": {1, 1},
	"map": {2, 2}, "map_keys": {1, 1}, "map_from_entries": {1, 1}, "row": {1, -1},
	// aggregates
	"count": {0, 1}, "count_if": {1, 1}, "sum": {1, 1}, "avg": {1, 1}, "min": {1, 1}, "max": {1, 1}, "any_value": {1, 1}, "arbitrary": {1, 1}, "bool_and": {1, 1}, "bool_or": {1, 1}, "array_agg": {1, 1},
	"histogram": {1, 1}, "stddev": {1, 1}, "stddev_pop": {1, 1}, "stddev_samp": {1, 1}, "variance": {1, 1}, "var_pop": {1, 1}, "var_samp": {1, 1}, "max_by": {2, 2}, "min_by": {2, 2}, "grouping": {1, -1},
	// windows
	"row_number": {0, 0}, "rank": {0, 0}, "dense_rank": {0, 0}, "percent_rank": {0, 0}, "cume_dist": {0, 0}, "ntile": {1, 1}, "lag": {1, 3}, "lead": {1, 3}, "first_value": {1, 1}, "last_value": {1, 1}, "nth_value": {2, 2},
	// grouping
	"rollup": {1, -1}, "cube": {1, -1},
}

// refused are functions of which it can be said what to write instead.
var refused = map[string]string{
	"concat": "use ||", "string_agg": "use array_join(array_agg(... order by ...), ',')", "listagg": "use array_join(array_agg(... order by ...), ',')", "group_concat": "use array_join(array_agg(... order by ...), ',')",
	"date_format": "use date_trunc, extract or cast(date as varchar)", "strftime": "use date_trunc, extract or cast(date as varchar)", "format_datetime": "use date_trunc, extract or cast(date as varchar)",
	"json_value": "use json_extract_scalar", "json_query": "use json_extract", "json_exists": "use json_extract(...) is not null",
	"json_extract_string": "use json_extract_scalar", "approx_percentile": "the engines interpolate differently", "approx_distinct": "the engines estimate differently on many values; use count(distinct ...)",
	"map_agg": "the engines order its keys differently", "typeof": "the engines spell types differently", "string_split": "use split", "dayofweek": "use day_of_week", "epoch": "use to_unixtime",
	"to_timestamp": "use from_unixtime", "isnan": "use is_nan", "trunc": "use truncate", "last_day": "use last_day_of_month", "generate_series": "use sequence", "array_to_string": "use array_join",
	"transform": "use unnest", "reduce": "use unnest", "any_match": "use cardinality(filter(...)) > 0", "all_match": "use cardinality(filter(...))", "format": "use ||", "at_timezone": "use at time zone 'UTC'",
	"log": "use ln(x) / nullif(ln(base), 0), or log10", "json_parse": "DuckDB keeps blanks and the order of keys; use json_extract", "array_distinct": "DuckDB loses nulls and the order; use array_agg(distinct x order by x)",
	"sha256": "use to_hex(md5(to_utf8(...)))", "random": "a model gives the same rows each time", "uuid": "a model gives the same rows each time", "gen_random_uuid": "a model gives the same rows each time",
}

var extractFields = []string{"year", "quarter", "month", "week", "day", "hour", "minute", "second"}

var (
	groupReference = regexp.MustCompile(`[$\\]\d|\$\{`)
	endsInUTC      = regexp.MustCompile(` UTC$`)
)

func (l *linter) call(i int) {
	name := l.ts[i].text
	args := l.args(i)
	if instead, ok := refused[name]; ok {
		l.add(i, "%s is not of the common language: %s", name, instead)
		return
	}
	n, ok := shared[name]
	if !ok {
		l.add(i, "function %s is not known to be the same on DuckDB and Trino", name)
		return
	}
	count := len(args)
	if name == "substring" && count == 1 && !slices.ContainsFunc(l.ts[args[0][0]:args[0][1]], func(t token) bool { return t.is("from") }) {
		count = 0
	}
	if count < n.least || n.most >= 0 && count > n.most {
		l.add(i, "%s with %d argument(s) is not the same on DuckDB and Trino", name, count)
		return
	}
	typ := func(k int) string { return l.typeOf(args[k][0], args[k][1]) }
	to := l.primary(i)
	switch name {
	case "cast", "try_cast":
		l.cast(i)
	case "trim", "ltrim", "rtrim":
		of := slices.IndexFunc(l.ts[args[0][0]:args[0][1]], func(t token) bool { return t.is("from") })
		if of < 0 || l.at(args[0][0]+of-1).is("(", "both", "leading", "trailing") {
			l.add(i, "%s takes spaces off on DuckDB, all white space on Trino: write trim(both ' ' from ...), leading or trailing", name)
		}
	case "substr", "substring":
		if count > 1 && l.belows(args[1][0], args[1][1], 1) {
			l.add(i, "%s from 0, or from the end: where the text is shorter DuckDB gives all of it, Trino nothing; write greatest(..., 1)", name)
		}
		if count > 2 && l.belows(args[2][0], args[2][1], 0) {
			l.add(i, "%s of a length below 0: DuckDB goes backwards, Trino gives nothing; write greatest(..., 0)", name)
		}
	case "lpad", "rpad":
		if l.belows(args[1][0], args[1][1], 0) {
			l.add(i, "%s to a length below 0: Trino fails; write greatest(..., 0)", name)
		}
	case "split_part":
		if l.belows(args[2][0], args[2][1], 1) {
			l.add(i, "split_part from 0, or from the end: DuckDB counts backwards, Trino fails; write greatest(..., 1)")
		}
	case "split":
		if !l.filled(args[1][0], args[1][1]) {
			l.add(i, "split by what may be empty: DuckDB gives single characters, Trino fails; write a literal, or nullif(..., '')")
		}
	case "replace":
		if !l.filled(args[1][0], args[1][1]) {
			l.add(i, "replace of what may be empty: DuckDB changes nothing, Trino puts the new text between all characters; write a literal, or nullif(..., '')")
		}
	case "ln", "log10", "sqrt":
		zero, than := name == "sqrt", ">"
		if zero {
			than = ">="
		}
		if !l.above(args[0][0], args[0][1], zero) {
			l.add(i, "%s of what may not be %s 0: DuckDB fails, Trino gives NaN or infinity; write case when x %s 0 then %s(x) end", name, than, than, name)
		}
	case "greatest":
		if typ(0) == "double" || typ(1) == "double" {
			l.add(i, "greatest of doubles: NaN is the greatest on DuckDB, and left out on Trino; use decimals, or case")
		}
	case "any_value", "arbitrary":
		l.add(i, "%s: the engines choose different rows; use min or max", name)
	case "array_agg":
		sorted := l.at(i-1).is("(") && l.at(i-2).is("array_sort", "cardinality")
		if !sorted && !l.ordered(i+1) {
			l.add(i, "array_agg without an order: the engines gather in different ones; write array_agg(x order by ...)")
		}
	case "row_number", "ntile", "lag", "lead", "first_value", "last_value", "nth_value":
		over := l.match[i+1] + 1
		inline := l.at(over).is("over") && l.at(over+1).is("(") && l.at(over+2).is(")", "partition", "rows", "range") // else a window by name, which may have one
		if inline && !l.ordered(over+1) {
			l.add(i, "%s without an order: the engines number rows differently; write over (... order by ...)", name)
		}
	case "count_if":
		if l.at(l.match[i+1] + 1).is("filter") {
			l.add(i, "count_if with a filter: it is a macro on DuckDB; put the condition into it")
		}
	case "mod":
		if !l.nonZero(args[1][0], args[1][1]) {
			l.add(i, "mod by what may be zero: use nullif(..., 0)")
		}
	case "avg":
		switch typ(0) {
		case "decimal":
			l.add(i, "avg of a decimal: DuckDB gives a double, Trino a rounded decimal; write cast(sum(x) as double) / nullif(cast(count(x) as double), 0)")
		case "double":
			l.inexact(i, "avg")
		}
	case "stddev", "stddev_pop", "stddev_samp", "variance", "var_pop", "var_samp":
		if t := typ(0); t == "double" || t == "decimal" || t == "integer" {
			l.inexact(i, name)
		}
	case "round":
		if count == 2 && typ(0) == "decimal" {
			l.add(i, "round of a decimal to places: the engines give different scales; cast the result to a decimal, or the argument to double")
		}
	case "sum":
		if typ(0) == "integer" && l.castTo(i, to) == "" {
			l.add(i, "sum of integers: DuckDB gives a HUGEINT; write cast(sum(...) as bigint)")
		}
		if typ(0) == "double" {
			l.inexact(i, "sum")
		}
	case "date_add":
		l.unit(args[0], "millisecond")
		if t := l.castTo(i, to); t != "date" && t != "timestamp" && typ(2) != "timestamp" && typ(2) != "timestamptz" {
			l.add(i, "date_add: DuckDB gives a timestamp of a date; write cast(... as date)")
		}
	case "date_diff":
		l.unit(args[0])
	case "date_trunc":
		l.unit(args[0])
		if typ(1) == "date" && l.castTo(i, to) != "date" {
			l.add(i, "date_trunc of a date: DuckDB gives a timestamp, Trino a date; write cast(... as date)")
		}
	case "extract":
		if f := l.at(args[0][0]); !slices.Contains(extractFields, f.text) {
			instead := strings.Join(extractFields, ", ")
			if f.is("dow", "day_of_week") {
				instead = "day_of_week(...), which is 7 on Sundays on both"
			}
			l.add(i, "extract(%s ...): use %s", f.text, instead)
		}
	case "regexp_like":
		l.pattern(args[1][0], args[1][1])
	case "regexp_extract":
		l.pattern(args[1][0], args[1][1])
		if !l.inNullif(i, to) {
			l.add(i, "regexp_extract where nothing matches: DuckDB gives '', Trino null; write nullif(regexp_extract(...), '')")
		}
	case "regexp_replace":
		l.pattern(args[1][0], args[1][1])
		if t := l.at(args[2][0]); t.kind != str || groupReference.MatchString(t.text) {
			l.add(i, "groups in a replacement: DuckDB says \\1, Trino $1; use a plain string")
		}
	case "max_by", "min_by":
		if !l.at(args[0][0]).is("coalesce") {
			l.add(i, "%s: DuckDB leaves out rows whose value is null; write %s(coalesce(...), ...)", name, name)
		}
	case "contains":
		if t := typ(0); t == "varchar" || t == "json" {
			l.add(i, "contains of a string: use strpos(...) > 0; the engines share contains(array, value)")
		}
	case "md5":
		if !l.at(i-1).is("(") || !l.at(i-2).is("to_hex") || !l.at(args[0][0]).is("to_utf8") {
			l.add(i, "md5 is text on DuckDB and bytes on Trino: write to_hex(md5(to_utf8(...)))")
		}
	case "to_utf8":
		if !l.at(i-1).is("(") || !l.at(i-2).is("md5") {
			l.add(i, "to_utf8 is text on DuckDB and bytes on Trino: it only stands in to_hex(md5(to_utf8(...)))")
		}
	case "to_hex":
		if !l.at(args[0][0]).is("md5") {
			l.add(i, "to_hex: bytes are text on DuckDB; write to_hex(md5(to_utf8(...)))")
		}
	case "from_base64":
		if l.at(args[0][0]).kind != str {
			l.add(i, "from_base64 of a column: what is not padded is an error on DuckDB and read by Trino")
		}
	case "from_unixtime":
		if t := typ(0); t == "double" || t == "decimal" {
			l.add(i, "from_unixtime of a fraction: Trino keeps milliseconds, DuckDB microseconds; give it whole seconds")
		}
	case "from_iso8601_timestamp":
		if !l.alike(args[0][0], args[0][1], isoReading) {
			l.add(i, "from_iso8601_timestamp of any text: the engines take different forms, and Trino keeps milliseconds; write case when regexp_like(x, '%s') then from_iso8601_timestamp(x) end", isoReading.sample)
		}
	case "json_extract", "json_extract_scalar":
		if p := l.at(args[1][0]); p.kind != str || args[1][1] != args[1][0]+1 || !jsonPath.MatchString(p.text) {
			l.add(i, "a JSON path other than '$.name[0].name': the engines have different ones")
		}
	case "element_at":
		if p := l.at(args[1][0]); p.kind == number && strings.Trim(p.text, "0") == "" {
			l.add(i, "element_at(..., 0): DuckDB gives null, Trino fails")
		}
	case "sequence":
		l.sequence(i, args)
	case "unnest":
		l.unnest(i, args)
	}
}

// inexact refuses sums of floating point numbers, and what is made of them: the last digits are those of the order in which the rows were added.
func (l *linter) inexact(i int, name string) {
	l.add(i, "%s of doubles: its last digits come from the order of the rows, which is another on each engine; sum decimals: cast(sum(cast(round(x * 100) as decimal(18, 0))) as double) / 1e2", name)
}

var units = []string{"second", "minute", "hour", "day", "week", "month", "quarter", "year"}

// unit checks the unit of a function of dates.
func (l *linter) unit(arg [2]int, more ...string) {
	t := l.at(arg[0])
	if t.kind != str || arg[1] != arg[0]+1 || !slices.Contains(units, strings.ToLower(t.text)) && !slices.Contains(more, strings.ToLower(t.text)) {
		l.add(arg[0], "a unit is one of '%s'", strings.Join(append(slices.Clone(units), more...), "', '"))
	}
}

// sequence demands that it does not run backwards, as Trino does by itself.
func (l *linter) sequence(i int, args [][2]int) {
	value := func(a [2]int) (int, bool) {
		sign := 1
		if l.at(a[0]).is("-") {
			a[0]++
			sign = -1
		}
		n, err := strconv.Atoi(l.at(a[0]).text)
		return sign * n, err == nil && l.at(a[0]).kind == number && a[1] == a[0]+1
	}
	from, known := value(args[0])
	to, fixed := value(args[1])
	if known && fixed && from <= to || known && !fixed && l.at(args[1][0]).is("greatest") && !l.belows(args[1][0], args[1][1], from) {
		return
	}
	l.add(i, "sequence whose end may lie before its beginning: DuckDB gives nothing, Trino counts down; write numbers, or greatest(..., beginning)")
}

// ordered says whether there is an ORDER BY directly in the bracket.
func (l *linter) ordered(open int) bool {
	for j := open + 1; j < l.match[open]; j++ {
		if l.up[j] == open && l.ts[j].is("order") && l.at(j+1).is("by") {
			return true
		}
	}
	return false
}

// inNullif says whether the call is what nullif takes ” away from.
func (l *linter) inNullif(i, to int) bool {
	return l.at(i-1).is("(") && l.at(i-2).is("nullif") && l.at(to).is(",") && l.at(to+1).kind == str && l.at(to+1).text == ""
}

func (l *linter) cast(i int) {
	as := l.castAs(i)
	if as < 0 {
		return
	}
	to := l.typeName(as+1, l.match[i+1])
	from := l.typeOf(i+2, as)
	if r, ok := readings[to]; ok && from == "varchar" && !l.alike(i+2, as, r) {
		l.add(i, "%s of a string to %s: the engines read %q differently, among others; write case when regexp_like(x, '%s') then cast(x as ...) end", l.ts[i].text, to, r.traps[0], r.sample)
	}
	switch to {
	case "timestamp":
		if (from == "timestamp" || from == "timestamptz") && (!l.at(as+2).is("(") || l.at(as+3).text != "6") {
			l.add(i, "cast(%s as timestamp): Trino keeps milliseconds; write timestamp(6)", from)
		}
	case "varchar":
		switch from {
		case "double", "timestamp", "timestamptz", "json", "interval":
			l.add(i, "cast(%s as varchar): the engines spell it differently", from)
		}
	case "integer", "decimal":
		if from == "double" && !l.rounded(i+2, as) {
			l.add(i, "cast(double as %s): of a half, DuckDB takes the even number, Trino the greater; write cast(round(...) as ...)", to)
		}
	case "timestamptz":
		if l.at(i+2).kind != str || as != i+3 || !endsInUTC.MatchString(l.at(i+2).text) {
			l.add(i, "cast(... as timestamp with time zone): the engines disagree about precision and zones; use at time zone 'UTC', or a literal that ends in UTC")
		}
	}
}

// rounded says whether the expression is whole numbers, though it is a double.
func (l *linter) rounded(i, j int) bool {
	for l.at(i).is("-", "+") || l.at(i).is("(") && l.match[i] == j-1 {
		if l.at(i).is("(") {
			j--
		}
		i++
	}
	return l.at(i).is("round", "floor", "ceil", "truncate") && l.at(i+1).is("(") && l.match[i+1] == j-1
}

// unnest refuses maps, which DuckDB does not unnest.
func (l *linter) unnest(i int, args [][2]int) {
	if t := l.typeOf(args[0][0], args[0][1]); t == "map" {
		l.add(i, "unnest of a map: DuckDB only unnests arrays")
		return
	}
	j := l.match[i+1] + 1
	if l.at(j).is("with") {
		return
	}
	if l.at(j).is("as") {
		j++
	}
	if l.at(j).name() && l.at(j+1).is("(") && len(l.args(j)) > 1 {
		l.add(i, "unnest of a map: DuckDB only unnests arrays")
	}
}
