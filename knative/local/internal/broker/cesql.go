package broker

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	cesql "github.com/cloudevents/sdk-go/sql/v2"
	"github.com/cloudevents/sdk-go/sql/v2/expression"
	"github.com/cloudevents/sdk-go/sql/v2/runtime"
	"github.com/cloudevents/sdk-go/sql/v2/utils"

	"millrace/shared/event"
)

// parseCESQL reads an expression in the CloudEvents SQL language 1.0. Its nodes are the SDK's but for NOT, AND, OR and XOR: there Knative's Kafka Broker goes on with a
// failed operand's value (false), where the SDK fails as a whole.
func parseCESQL(text string) (cesql.Expression, error) {
	tokens, err := scanCESQL(text)
	if err != nil {
		return nil, err
	}
	p := &cesqlParser{tokens: tokens}
	e, err := p.expression(0)
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != tokenEnd {
		return nil, fmt.Errorf("unexpected %s after the expression", t)
	}
	return e, nil
}

// truth is the value of an expression as a boolean, false where it has none. Errors (an attribute that is missing, a cast that does not exist) are not a filter's concern: the
// value beside them is what counts, as in Knative.
func truth(e cesql.Expression, ev event.Event) bool {
	v, _ := e.Evaluate(ev)
	if v, _ = utils.Cast(v, cesql.BooleanType); v == nil {
		return false
	}
	b, _ := v.(bool)
	return b
}

type notExpression struct{ child cesql.Expression }

func (n notExpression) Evaluate(ev event.Event) (any, error) {
	if id, ok := n.child.(identifier); ok && !utils.ContainsAttribute(ev, id.name) {
		return n.child.Evaluate(ev) // NOT missing is false, by the specification's own tests
	}
	return !truth(n.child, ev), nil
}

// identifier is an attribute's name, kept for NOT.
type identifier struct {
	cesql.Expression
	name string
}

type logicExpression struct {
	op          string
	left, right cesql.Expression
}

func (l logicExpression) Evaluate(ev event.Event) (any, error) {
	left := truth(l.left, ev)
	switch l.op {
	case "AND":
		return left && truth(l.right, ev), nil
	case "OR":
		return left || truth(l.right, ev), nil
	default:
		return left != truth(l.right, ev), nil
	}
}

type tokenKind int

const (
	tokenEnd tokenKind = iota
	tokenWord
	tokenInteger
	tokenString
	tokenSign // an operator, a bracket, a comma
)

type token struct {
	kind tokenKind
	text string // of a string: its value
	at   int
}

func (t token) String() string {
	if t.kind == tokenEnd {
		return "end"
	}
	return fmt.Sprintf("%q at character %d", t.text, t.at+1)
}

// is reports whether the token is this operator or keyword; keywords know no case.
func (t token) is(text string) bool {
	return (t.kind == tokenSign && t.text == text) || (t.kind == tokenWord && strings.EqualFold(t.text, text))
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func scanCESQL(s string) ([]token, error) {
	var tokens []token
	for i := 0; i < len(s); {
		c, start := s[i], i
		switch {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			i++
			continue
		case isDigit(c) || isLetter(c):
			kind := tokenInteger
			for ; i < len(s) && (isDigit(s[i]) || isLetter(s[i]) || s[i] == '_'); i++ {
				if !isDigit(s[i]) {
					kind = tokenWord
				}
			}
			tokens = append(tokens, token{kind, s[start:i], start})
		case c == '\'' || c == '"':
			value, n := scanString(s[i:])
			if n == 0 {
				return nil, fmt.Errorf("the string at character %d has no end", start+1)
			}
			i += n
			tokens = append(tokens, token{tokenString, value, start})
		default:
			n := 1
			if i+1 < len(s) {
				switch s[i : i+2] {
				case "!=", "<>", "<=", ">=":
					n = 2
				}
			}
			if n == 1 && !strings.ContainsRune("()*/%+-=<>,", rune(c)) {
				return nil, fmt.Errorf("unexpected %q at character %d", c, start+1)
			}
			i += n
			tokens = append(tokens, token{tokenSign, s[start:i], start})
		}
	}
	return append(tokens, token{kind: tokenEnd, at: len(s)}), nil
}

// scanString reads a quoted string at the beginning of s: its value and its length with quotes, 0 where it does not end.
func scanString(s string) (value string, n int) {
	quote := s[0]
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return strings.ReplaceAll(s[1:i], `\`+string(quote), string(quote)), i + 1
		}
	}
	return "", 0
}

type cesqlParser struct {
	tokens []token
	next   int
}

func (p *cesqlParser) peek() token { return p.tokens[p.next] }

func (p *cesqlParser) take() token {
	t := p.tokens[p.next]
	if t.kind != tokenEnd {
		p.next++
	}
	return t
}

func (p *cesqlParser) accept(text string) bool {
	if !p.peek().is(text) {
		return false
	}
	p.next++
	return true
}

func (p *cesqlParser) expect(text string) error {
	if !p.accept(text) {
		return fmt.Errorf("%q is missing before %s", text, p.peek())
	}
	return nil
}

// How tightly operators bind, by the specification's grammar.
const (
	bindLogic = 1 + iota
	bindComparison
	bindAdditive
	bindMultiplicative
	bindLike
	bindUnary
)

func (p *cesqlParser) binding() int {
	t := p.peek()
	if t.is("NOT") && (p.tokens[p.next+1].is("LIKE") || p.tokens[p.next+1].is("IN")) {
		return bindLike
	}
	for binding, texts := range [...][]string{
		bindLogic: {"AND", "OR", "XOR"}, bindComparison: {"=", "!=", "<>", "<", "<=", ">", ">="},
		bindAdditive: {"+", "-"}, bindMultiplicative: {"*", "/", "%"}, bindLike: {"LIKE", "IN"},
	} {
		for _, text := range texts {
			if t.is(text) {
				return binding
			}
		}
	}
	return 0
}

// expression reads an expression of operators that bind at least as tightly as least.
func (p *cesqlParser) expression(least int) (cesql.Expression, error) {
	left, err := p.prefix()
	if err != nil {
		return nil, err
	}
	for {
		binding := p.binding()
		if binding == 0 || binding < least {
			return left, nil
		}
		negated := binding == bindLike && p.accept("NOT")
		op := strings.ToUpper(p.take().text)
		switch op {
		case "LIKE":
			pattern := p.take()
			if pattern.kind != tokenString {
				return nil, fmt.Errorf("LIKE needs a string, not %s", pattern)
			}
			left, err = expression.NewLikeExpression(left, pattern.text)
		case "IN":
			var set []cesql.Expression
			if set, err = p.list(); err == nil && len(set) == 0 {
				err = errors.New("the set after IN is empty")
			}
			left = expression.NewInExpression(left, set)
		default:
			tighter := binding + 1
			if binding == bindLogic {
				tighter = binding // from right to left
			}
			var right cesql.Expression
			if right, err = p.expression(tighter); err == nil {
				left = binary(op, left, right)
			}
		}
		if err != nil {
			return nil, err
		}
		if negated {
			left = notExpression{left}
		}
	}
}

func binary(op string, left, right cesql.Expression) cesql.Expression {
	switch op {
	case "*":
		return expression.NewMultiplicationExpression(left, right)
	case "/":
		return expression.NewDivisionExpression(left, right)
	case "%":
		return expression.NewModuleExpression(left, right)
	case "+":
		return expression.NewSumExpression(left, right)
	case "-":
		return expression.NewDifferenceExpression(left, right)
	case "=":
		return expression.NewEqualExpression(left, right)
	case "!=", "<>":
		return expression.NewNotEqualExpression(left, right)
	case "<":
		return expression.NewLessExpression(left, right)
	case "<=":
		return expression.NewLessOrEqualExpression(left, right)
	case ">":
		return expression.NewGreaterExpression(left, right)
	case ">=":
		return expression.NewGreaterOrEqualExpression(left, right)
	}
	return logicExpression{op, left, right}
}

// list reads ( expression, expression, ... ).
func (p *cesqlParser) list() ([]cesql.Expression, error) {
	if err := p.expect("("); err != nil {
		return nil, err
	}
	var all []cesql.Expression
	if p.accept(")") {
		return nil, nil
	}
	for {
		e, err := p.expression(0)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
		if !p.accept(",") {
			return all, p.expect(")")
		}
	}
}

// prefix reads what stands before the first binary operator.
func (p *cesqlParser) prefix() (cesql.Expression, error) {
	t := p.take()
	switch {
	case t.kind == tokenString:
		return expression.NewLiteralExpression(t.text), nil
	case t.kind == tokenInteger:
		return integer(t.text)
	case t.is("("):
		e, err := p.expression(0)
		if err != nil {
			return nil, err
		}
		return e, p.expect(")")
	case (t.is("-") || t.is("+")) && p.peek().kind == tokenInteger && p.peek().at == t.at+1:
		return integer(t.text + p.take().text)
	case t.is("-"):
		e, err := p.expression(bindUnary)
		if err != nil {
			return nil, err
		}
		return expression.NewNegateExpression(e), nil
	case t.is("NOT"):
		e, err := p.expression(bindUnary)
		if err != nil {
			return nil, err
		}
		return notExpression{e}, nil
	case t.is("EXISTS"):
		if t = p.take(); t.kind != tokenWord && t.kind != tokenInteger || strings.Contains(t.text, "_") {
			return nil, fmt.Errorf("EXISTS needs an attribute's name, not %s", t)
		}
		return expression.NewExistsExpression(strings.ToLower(t.text)), nil
	case t.is("TRUE"), t.is("FALSE"):
		return expression.NewLiteralExpression(t.is("TRUE")), nil
	case t.kind == tokenWord && p.peek().is("("):
		args, err := p.list()
		if err != nil {
			return nil, err
		}
		name := strings.ToUpper(t.text)
		if runtime.ResolveFunction(name, len(args)) == nil {
			return nil, fmt.Errorf("there is no function %s with %d arguments", name, len(args))
		}
		return expression.NewFunctionInvocationExpression(name, args), nil
	case t.kind == tokenWord && !strings.Contains(t.text, "_") && !reserved(t):
		name := strings.ToLower(t.text)
		return identifier{expression.NewIdentifierExpression(name), name}, nil
	}
	return nil, fmt.Errorf("unexpected %s", t)
}

func reserved(t token) bool {
	return t.is("AND") || t.is("OR") || t.is("XOR") || t.is("LIKE") || t.is("IN")
}

func integer(text string) (cesql.Expression, error) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("%s is no integer of 32 bits", text)
	}
	return expression.NewLiteralExpression(int32(n)), nil
}
