package quality

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// token is a word, a quoted name, a text or a sign of SQL; comments are none.
type token struct {
	kind byte // 'w' word (lower case), 'q' quoted name, 't' text, or the sign itself
	text string
}

// tokens takes SQL apart as far as lint needs it. A text or comment without an end is an error.
func tokens(sql string) ([]token, error) {
	var list []token
	for i := 0; i < len(sql); {
		c := sql[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case strings.HasPrefix(sql[i:], "--"):
			end := strings.IndexByte(sql[i:], '\n')
			if end < 0 {
				return list, nil
			}
			i += end
		case strings.HasPrefix(sql[i:], "/*"):
			end := strings.Index(sql[i+2:], "*/")
			if end < 0 {
				return nil, errors.New("a comment has no end")
			}
			i += end + 4
		case c == '\'' || c == '"':
			end := closing(sql, i)
			if end < 0 {
				return nil, errors.New("a quotation has no end")
			}
			kind := byte('t')
			if c == '"' {
				kind = 'q'
			}
			list = append(list, token{kind, strings.ReplaceAll(sql[i+1:end], string([]byte{c, c}), string(c))})
			i = end + 1
		case wordStart(c):
			end := i + 1
			for end < len(sql) && (wordStart(sql[end]) || sql[end] >= '0' && sql[end] <= '9') {
				end++
			}
			list = append(list, token{'w', strings.ToLower(sql[i:end])})
			i = end
		case c >= '0' && c <= '9':
			end := i + 1
			for end < len(sql) && (wordStart(sql[end]) || sql[end] >= '0' && sql[end] <= '9' || sql[end] == '.') {
				end++
			}
			list = append(list, token{'n', sql[i:end]})
			i = end
		default:
			list = append(list, token{c, string(c)})
			i++
		}
	}
	return list, nil
}

func wordStart(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// closing returns where the quotation that begins at i ends, two of the quotes being one of the text; -1 where it does not.
func closing(sql string, i int) int {
	for j := i + 1; j < len(sql); j++ {
		if sql[j] != sql[i] {
			continue
		}
		if j+1 < len(sql) && sql[j+1] == sql[i] {
			j++
			continue
		}
		return j
	}
	return -1
}

// outside are functions of DuckDB that reach beyond the rows of the day: files, settings, other queries. The prefixes cover families of them.
var outside = regexp.MustCompile(`^(read_.*|write_.*|duckdb_.*|pragma_.*|parquet_.*|sqlite_.*|postgres_.*|mysql_.*|iceberg_.*|delta_.*|.*_scan|sniff_csv|glob|query|query_table|getenv|getvariable|current_setting|which_secret|` +
	`json_execute_serialized_sql|force_checkpoint|checkpoint|nextval|currval|repeat_row|test_.*|summary|system|raw_query)$`)

// statements are words that begin or make something else than a query.
var statements = map[string]bool{
	"insert": true, "update": true, "delete": true, "merge": true, "create": true, "drop": true, "alter": true, "copy": true, "attach": true, "detach": true, "install": true, "load": true,
	"pragma": true, "set": true, "reset": true, "call": true, "export": true, "import": true, "vacuum": true, "truncate": true, "grant": true, "revoke": true, "begin": true, "commit": true,
	"rollback": true, "use": true, "execute": true, "prepare": true, "analyze": true, "explain": true, "describe": true, "show": true, "into": true,
}

// lint returns what keeps the text from being one SELECT over the rows of a day, as far as words tell; what it reads, the engine says better. It returns the query without
// a semicolon behind it.
func lint(sql string) (string, error) {
	list, err := tokens(sql)
	if err != nil {
		return "", err
	}
	for len(list) > 0 && list[len(list)-1].kind == ';' {
		list = list[:len(list)-1]
		sql = strings.TrimRight(sql, " \t\r\n")
		cut, ok := strings.CutSuffix(sql, ";")
		if !ok {
			return "", errors.New("a comment follows the semicolon")
		}
		sql = cut
	}
	first := 0
	for first < len(list) && list[first].kind == '(' {
		first++
	}
	if first == len(list) || list[first].kind != 'w' || list[first].text != "select" && list[first].text != "with" {
		return "", errors.New("only a SELECT is run")
	}
	for i, t := range list {
		called := i+1 < len(list) && list[i+1].kind == '('
		member := i > 0 && list[i-1].kind == '.'
		switch {
		case t.kind == ';':
			return "", errors.New("a semicolon: only one SELECT is run")
		case (t.kind == 'w' || t.kind == 'q') && called && outside.MatchString(strings.ToLower(t.text)):
			return "", fmt.Errorf("%s() is not for rules", shorten(t.text, 40))
		case t.kind == 'w' && statements[t.text] && !member && (t.text == "into" || i > 0 && list[i-1].kind == '('):
			return "", fmt.Errorf("%s: only a SELECT is run", strings.ToUpper(t.text))
		}
	}
	return sql, nil
}
