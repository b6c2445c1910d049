package quality

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"millrace/shared/contract"
)

// Value is what a rule's metric or query gave: a number, a text, or nothing.
type Value struct {
	Number   float64
	IsNumber bool
	Text     string // what it was in SQL, "" where it was null
	Null     bool
}

// number returns the value of a finite number; NaN and the infinities are texts, since no threshold can judge them.
func number(x float64) Value {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return Value{Text: strconv.FormatFloat(x, 'g', -1, 64)}
	}
	return Value{Number: x, IsNumber: true, Text: strconv.FormatFloat(x, 'g', -1, 64)}
}

// valueOf returns what a driver scanned. Booleans are the numbers 0 and 1 with their name as text.
func valueOf(x any) Value {
	switch x := x.(type) {
	case nil:
		return Value{Null: true}
	case bool:
		v := number(0)
		if x {
			v = number(1)
		}
		v.Text = strconv.FormatBool(x)
		return v
	case int8:
		return number(float64(x))
	case int16:
		return number(float64(x))
	case int32:
		return number(float64(x))
	case int64:
		return number(float64(x))
	case int:
		return number(float64(x))
	case uint8:
		return number(float64(x))
	case uint16:
		return number(float64(x))
	case uint32:
		return number(float64(x))
	case uint64:
		return number(float64(x))
	case float32:
		return number(float64(x))
	case float64:
		return number(x)
	case *big.Int:
		f, _ := new(big.Float).SetInt(x).Float64() // what is not exact is far beyond any count
		return number(f)
	case interface{ Float64() float64 }: // the driver's decimal
		return number(x.Float64())
	case string:
		return Value{Text: x}
	case []byte:
		return Value{Text: string(x)}
	case time.Time:
		return Value{Text: timeText(x)}
	case fmt.Stringer:
		return Value{Text: x.String()}
	}
	return Value{Text: fmt.Sprint(x)}
}

func timeText(t time.Time) string { return strings.TrimSuffix(t.UTC().Format(time.RFC3339Nano), "Z") }

// condition is one of the standard's comparison operators with what it compares to.
type condition struct {
	name    string
	numbers []float64 // one, or two of between
	text    string    // of mustBe and mustNotBe with a text
	isText  bool
}

// Threshold is what a rule's value is held against: all of its conditions.
type Threshold []condition

// String is the threshold as the contract has it: "mustBeBetween 1 and 5".
func (t Threshold) String() string {
	var all []string
	for _, c := range t {
		var of []string
		for _, n := range c.numbers {
			of = append(of, strconv.FormatFloat(n, 'g', -1, 64))
		}
		if c.isText {
			of = append(of, strconv.Quote(c.text))
		}
		all = append(all, c.name+" "+strings.Join(of, " and "))
	}
	return strings.Join(all, ", ")
}

// thresholdOf reads a rule's operators. The standard allows exactly one; a rule with several has to pass all.
func thresholdOf(q *contract.Quality) (Threshold, error) {
	var t Threshold
	var errs []error
	equal := func(name string, value any) {
		c := condition{name: name}
		switch v := value.(type) {
		case nil:
			return
		case string:
			c.text, c.isText = v, true
		case bool:
			c.text, c.isText = strconv.FormatBool(v), true
		case int:
			c.numbers = []float64{float64(v)}
		case int64:
			c.numbers = []float64{float64(v)}
		case uint64:
			c.numbers = []float64{float64(v)}
		case float64:
			c.numbers = []float64{v}
		default:
			errs = append(errs, fmt.Errorf("%s is neither a number nor a text", name))
			return
		}
		t = append(t, c)
	}
	one := func(name string, value *float64) {
		if value != nil {
			t = append(t, condition{name: name, numbers: []float64{*value}})
		}
	}
	two := func(name string, value []float64) {
		switch {
		case value == nil:
		case len(value) != 2 || value[0] > value[1]:
			errs = append(errs, fmt.Errorf("%s wants two numbers, the smaller one first", name))
		default:
			t = append(t, condition{name: name, numbers: value})
		}
	}
	equal("mustBe", q.MustBe)
	equal("mustNotBe", q.MustNotBe)
	one("mustBeGreaterThan", q.MustBeGreaterThan)
	one("mustBeGreaterOrEqualTo", q.MustBeGreaterOrEqualTo)
	one("mustBeLessThan", q.MustBeLessThan)
	one("mustBeLessOrEqualTo", q.MustBeLessOrEqualTo)
	two("mustBeBetween", q.MustBeBetween)
	two("mustNotBeBetween", q.MustNotBeBetween)
	for _, c := range t {
		for _, n := range c.numbers {
			if math.IsNaN(n) || math.IsInf(n, 0) {
				errs = append(errs, fmt.Errorf("%s is not a finite number", c.name))
			}
		}
	}
	if len(t) == 0 && len(errs) == 0 {
		errs = append(errs, errors.New("no operator such as mustBe or mustBeLessThan says what the value has to be"))
	}
	return t, errors.Join(errs...)
}

// judge reports whether the value passes, and else why: it misses the threshold, or it cannot be compared.
func (t Threshold) judge(v Value) (passed bool, reason string) {
	for _, c := range t {
		switch {
		case v.Null:
			return false, "the value is null"
		case c.isText:
			equal := v.Text == c.text
			if equal != (c.name == "mustBe") {
				return false, ""
			}
			continue
		case !v.IsNumber:
			return false, fmt.Sprintf("the value is %s, which cannot be compared with a number", shorten(v.Text, 80))
		}
		if !c.holds(v.Number) {
			return false, ""
		}
	}
	return true, ""
}

func (c condition) holds(x float64) bool {
	switch a := c.numbers[0]; c.name {
	case "mustBe":
		return x == a
	case "mustNotBe":
		return x != a
	case "mustBeGreaterThan":
		return x > a
	case "mustBeGreaterOrEqualTo":
		return x >= a
	case "mustBeLessThan":
		return x < a
	case "mustBeLessOrEqualTo":
		return x <= a
	case "mustBeBetween":
		return x >= a && x <= c.numbers[1]
	default: // mustNotBeBetween
		return x < a || x > c.numbers[1]
	}
}

// shorten cuts a text to at most n code points.
func shorten(s string, n int) string {
	for i := range s {
		if n--; n < 0 {
			return s[:i] + "…"
		}
	}
	return s
}
