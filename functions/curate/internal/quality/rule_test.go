package quality

import (
	"math"
	"strings"
	"testing"

	"millrace/shared/contract"
)

const head = `
apiVersion: v3.1.0
kind: DataContract
id: t
version: 0.0.1
status: active
customProperties:
  - {property: eventType, value: Thing}
schema:
  - name: thing
    logicalType: object
`

const fields = `
    properties:
      - {name: Name, logicalType: string, classification: public}
      - {name: host, logicalType: string, classification: personal}
      - {name: age, logicalType: integer, classification: personal}
      - {name: count, logicalType: integer}
      - {name: amount, logicalType: number}
      - {name: price, logicalType: number, physicalType: "decimal(10,2)"}
      - {name: on, logicalType: boolean}
      - {name: day, logicalType: date}
      - {name: at, logicalType: timestamp, logicalTypeOptions: {timezone: true}}
      - {name: tags, logicalType: array, items: {logicalType: string}}
      - name: inner
        logicalType: object
        properties:
          - {name: X, logicalType: integer}
`

// contractOf returns a contract whose object carries the rules, in YAML's flow style.
func contractOf(t *testing.T, rules ...string) (*contract.Contract, contract.Model) {
	t.Helper()
	return modelOf(t, head+"    quality:\n      - "+strings.Join(rules, "\n      - ")+fields)
}

// on returns a contract whose property carries the rules.
func on(t *testing.T, property string, rules ...string) (*contract.Contract, contract.Model) {
	t.Helper()
	at := "{name: " + property + ","
	if !strings.Contains(fields, at) {
		t.Fatal("no property ", property)
	}
	return modelOf(t, head+strings.Replace(fields, at, "{name: "+property+", quality: ["+strings.Join(rules, ", ")+"],", 1))
}

func modelOf(t *testing.T, yaml string) (*contract.Contract, contract.Model) {
	t.Helper()
	c, err := contract.Parse("test", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	set, err := contract.NewSet(c)
	if err != nil {
		t.Fatal(err)
	}
	m, err := set.Model(c.EventType, c.Model)
	if err != nil {
		t.Fatal(err)
	}
	return c, m
}

// Guards the SQL that each library metric becomes, in the common language of both engines.
func TestLibraryRulesBecomeSQL(t *testing.T) {
	for _, c := range []struct{ property, rule, want string }{
		{"Name", "{metric: nullValues, mustBe: 0}", `"Name" is null`},
		{"Name", "{rule: nullValues, mustBe: 0}", `"Name" is null`},
		{"Name", "{metric: missingValues, arguments: {missingValues: [null, '', 'N/A', \"it's\"]}, mustBe: 0}", `"Name" is null or "Name" in ('', 'N/A', 'it''s')`},
		{"count", "{metric: missingValues, arguments: {missingValues: [-200]}, mustBe: 0}", `"count" in (-200)`},
		{"Name", "{metric: invalidValues, arguments: {validValues: [a, null]}, mustBe: 0}", `"Name" not in ('a')`},
		{"Name", "{metric: invalidValues, arguments: {pattern: '^[a-z]+$', maxLength: 5, minLength: 1}, mustBe: 0}", `length("Name") > 5 or length("Name") < 1 or not regexp_like("Name", '^[a-z]+$')`},
		{"count", "{metric: invalidValues, arguments: {minimum: 1, exclusiveMaximum: 9.5}, mustBe: 0}", `"count" >= 9.5e0 or "count" < 1`},
		{"amount", "{metric: invalidValues, arguments: {min: 0, max: 1e20}, mustBe: 0}", `"amount" > 100000000000000000000e0 or "amount" < 0e0 or is_nan("amount")`},
		{"price", "{metric: invalidValues, arguments: {exclusiveMinimum: 0.10}, mustBe: 0}", `"price" <= 0.1`},
		{"on", "{metric: invalidValues, arguments: {validValues: [true]}, mustBe: 0}", `"on" not in (true)`},
		{"day", "{metric: invalidValues, arguments: {minimum: 2023-01-02}, mustBe: 0}", `"day" < date '2023-01-02'`},
		{"at", "{metric: invalidValues, arguments: {maximum: '2023-01-02T01:00:00+01:00'}, mustBe: 0}", `"at" > cast('2023-01-02 00:00:00.000000 UTC' as timestamp with time zone)`},
		{"X", "{metric: nullValues, mustBe: 0}", `"inner"."X" is null`},
		{"host", "{metric: nullValues, mustBe: 0}", `"host" is null`},
	} {
		r := compile(on(t, c.property, c.rule))[0]
		if r.where != c.want || r.Problem != "" || r.Blocking || r.Severity != severityWarning {
			t.Errorf("%s on %s: %+v, want %s", c.rule, c.property, r, c.want)
		}
	}
}

// Guards against rules that are run as something else than what they say: each is refused with a reason that names what is wrong.
func TestRulesThatCannotBeRun(t *testing.T) {
	for _, c := range []struct{ property, rule, want string }{
		{"Name", "{metric: nullvalues, mustBe: 0}", `metric "nullvalues" is not known`},
		{"Name", "{mustBe: 0}", "names no metric"},
		{"Name", "{metric: nullValues}", "no operator"},
		{"Name", "{metric: nullValues, mustBe: .nan}", "not a finite number"},
		{"Name", "{metric: nullValues, mustBe: [1]}", "neither a number nor a text"},
		{"Name", "{metric: nullValues, mustBeBetween: [5, 1]}", "the smaller one first"},
		{"Name", "{metric: nullValues, mustNotBeBetween: [5]}", "two numbers"},
		{"Name", "{metric: missingValues, mustBe: 0}", "needs arguments.missingValues"},
		{"Name", "{metric: invalidValues, mustBe: 0}", "needs arguments"},
		{"Name", "{metric: invalidValues, arguments: {maximun: 5}, mustBe: 0}", `argument "maximun" is not known`},
		{"Name", "{metric: invalidValues, arguments: {maximum: 5}, mustBe: 0}", "arguments.maximum on a field of type string"},
		{"Name", "{metric: invalidValues, arguments: {pattern: '('}, mustBe: 0}", "arguments.pattern"},
		{"count", "{metric: invalidValues, arguments: {validValues: [a]}, mustBe: 0}", "a is no integer"},
		{"amount", "{metric: invalidValues, arguments: {maximum: .inf}, mustBe: 0}", "is no number"},
		{"host", "{metric: invalidValues, arguments: {pattern: a}, mustBe: 0}", "masked"},
		{"host", "{metric: missingValues, arguments: {missingValues: [unknown]}, mustBe: 0}", "masked"},
		{"age", "{metric: duplicateValues, mustBe: 0}", "masked"},
		{"Name", "{metric: rowCount, unit: percent, mustBe: 0}", "of what"},
		{"Name", "{metric: duplicateValues, arguments: {properties: [name, nothing]}, mustBe: 0}", "no property nothing"},
		{"Name", "{metric: duplicateValues, arguments: {properties: [Name, name]}, mustBe: 0}", "twice"},
		{"Name", "{metric: nullValues, mustBe: 0, customProperties: [{property: blocking, value: perhaps}]}", "neither true nor false"},
		{"Name", "{metric: nullValues, mustBe: 0, customProperties: [{property: flag, value: true}]}", "flag is for duplicateValues"},
		{"Name", "{type: sql, mustBe: 0}", "no query"},
		{"Name", "{type: sql, query: 'select ${x} from ${table}', mustBe: 0}", "placeholder ${x}"},
		{"Name", "{type: soda, mustBe: 0}", "not one of the standard's"},
		{"Name", "{type: sql, query: 'select 1; drop table x', mustBe: 0}", "semicolon"},
		{"Name", "{type: sql, query: 'drop table ${table}', mustBe: 0}", "only a SELECT"},
		{"Name", "{type: sql, query: 'with x as (delete from ${table} returning 1) select 1', mustBe: 0}", "DELETE"},
		{"Name", "{type: sql, query: 'select 1 into x', mustBe: 0}", "INTO"},
		{"Name", "{type: sql, query: 'select count(*) from read_csv(''/etc/passwd'')', mustBe: 0}", "read_csv() is not for rules"},
		{"Name", "{type: sql, query: 'select \"GETENV\"(''HOME'')', mustBe: 0}", "GETENV() is not for rules"},
		{"Name", "{type: sql, query: 'select ''x', mustBe: 0}", "no end"},
		{"Name", "{type: sql, query: 'select 1 /* x', mustBe: 0}", "no end"},
	} {
		r := compile(on(t, c.property, c.rule))[0]
		if !strings.Contains(r.Problem, c.want) {
			t.Errorf("%s on %s: problem %q, want %q", c.rule, c.property, r.Problem, c.want)
		}
	}
	if r := compile(contractOf(t, "{metric: nullValues, mustBe: 0}"))[0]; !strings.Contains(r.Problem, "for a property") {
		t.Errorf("nullValues over the whole: %+v", r)
	}
	if r := compile(contractOf(t, "{type: sql, query: 'select ${column} from ${table}', mustBe: 0}"))[0]; !strings.Contains(r.Problem, "no property") {
		t.Errorf("a placeholder for no property: %+v", r)
	}
}

// Guards what words and signs within texts, names and comments do to a query: nothing.
func TestLintKnowsQuotation(t *testing.T) {
	for _, query := range []string{
		"select count(*) from t where x = 'a;b -- drop (insert '';' and \"in;to\" = 1 -- ; drop\n and /* ; */ y = 1",
		"((select 1))", "WITH a AS (SELECT 1) SELECT * FROM a;", "select \"update\", q.load from t as q",
	} {
		if _, err := lint(query); err != nil {
			t.Errorf("%s: %v", query, err)
		}
	}
}

// Guards ids: they name a rule in every run, whatever stands before it, and no two rules share one.
func TestIDs(t *testing.T) {
	c, m := contractOf(t, "{id: a, metric: rowCount, mustBe: 0}", "{id: a, metric: rowCount, mustBe: 1}", "{metric: rowCount, mustBe: 0}", "{type: sql, query: select 1, mustBe: 0}", "{type: text, description: x}")
	var ids []string
	for _, r := range compile(c, m) {
		ids = append(ids, r.ID)
	}
	if got := strings.Join(ids, " "); got != "a a#2 rowCount sql-822ae07d text" {
		t.Error(got)
	}
}

// Guards who may hold a day back: severity says so, the custom property against it, and never a rule that is not run.
func TestBlocking(t *testing.T) {
	for rule, want := range map[string]bool{
		"{metric: rowCount, mustBe: 0, severity: error}":                                                         true,
		"{metric: rowCount, mustBe: 0, severity: Error}":                                                         true,
		"{metric: rowCount, mustBe: 0, severity: warning}":                                                       false,
		"{metric: rowCount, mustBe: 0}":                                                                          false,
		"{metric: rowCount, mustBe: 0, severity: error, customProperties: [{property: blocking, value: false}]}": false,
		"{metric: rowCount, mustBe: 0, severity: info, customProperties: [{property: blocking, value: true}]}":   true,
		"{type: text, description: x, severity: error}":                                                          false,
		"{type: custom, engine: soda, implementation: x, severity: error}":                                       false,
	} {
		if r := compile(contractOf(t, rule))[0]; r.Blocking != want {
			t.Errorf("%s: blocking %v", rule, r.Blocking)
		}
	}
}

// Guards every operator at its bound, on both sides of it, and values that no operator can judge.
func TestThresholds(t *testing.T) {
	for _, c := range []struct {
		rule         string
		passes, fail []float64
	}{
		{"mustBe: 5", []float64{5}, []float64{4.999, 5.001, -5}},
		{"mustNotBe: 5", []float64{4}, []float64{5}},
		{"mustBeGreaterThan: 5", []float64{5.001}, []float64{5, 4}},
		{"mustBeGreaterOrEqualTo: 5", []float64{5, 6}, []float64{4.999}},
		{"mustBeLessThan: 5", []float64{4.999}, []float64{5, 6}},
		{"mustBeLessOrEqualTo: 5", []float64{5, -1}, []float64{5.001}},
		{"mustBeBetween: [1, 5]", []float64{1, 3, 5}, []float64{0.999, 5.001}},
		{"mustNotBeBetween: [1, 5]", []float64{0.999, 5.001}, []float64{1, 3, 5}},
		{"mustBeGreaterThan: 1, mustBeLessThan: 5", []float64{3}, []float64{1, 5}},
		{"mustBe: '5'", []float64{5}, []float64{6}},
	} {
		r := compile(contractOf(t, "{metric: rowCount, "+c.rule+"}"))[0]
		for _, x := range c.passes {
			if ok, reason := r.Threshold.judge(number(x)); !ok || reason != "" {
				t.Errorf("%s: %g fails, %s", c.rule, x, reason)
			}
		}
		for _, x := range append(c.fail, math.NaN(), math.Inf(1), math.Inf(-1)) {
			if ok, _ := r.Threshold.judge(number(x)); ok {
				t.Errorf("%s: %g passes", c.rule, x)
			}
		}
		if ok, reason := r.Threshold.judge(Value{Null: true}); ok || reason == "" {
			t.Errorf("%s: null passes, or without a reason", c.rule)
		}
	}
	r := compile(contractOf(t, "{type: sql, query: select 1, mustBe: open}", "{type: sql, query: select 1, mustBe: true}", "{type: sql, query: select 1, mustBeLessThan: 5}"))
	for i, v := range []any{"open", true, "x"} {
		if ok, reason := r[i].Threshold.judge(valueOf(v)); ok != (i < 2) || ok == (reason != "") {
			t.Errorf("%v: %v %s", v, ok, reason)
		}
	}
	if got := r[0].Threshold.String(); got != `mustBe "open"` {
		t.Error(got)
	}
}
