package model

import (
	"slices"
)

// inType says whether the token is of the type in a cast.
func (l *linter) inType(i int) bool {
	for up := l.up[i]; up >= 0; up = l.up[up] {
		if !l.at(up-1).is("cast", "try_cast") {
			continue
		}
		if as := l.castAs(up - 1); as >= 0 && i > as && i < l.match[up] {
			return true
		}
	}
	return false
}

// castAs is the AS of a cast.
func (l *linter) castAs(i int) int {
	for j := l.match[i+1] - 1; j > i+1; j-- {
		if l.up[j] == i+1 && l.ts[j].is("as") {
			return j
		}
	}
	return -1
}

// args are the arguments of a call, as ranges of tokens.
func (l *linter) args(i int) (out [][2]int) {
	open, shut := i+1, l.match[i+1]
	if shut == open+1 {
		return nil
	}
	from := open + 1
	for j := from; j < shut; j++ {
		if l.up[j] == open && l.ts[j].is(",") {
			out = append(out, [2]int{from, j})
			from = j + 1
		}
	}
	return append(out, [2]int{from, shut})
}

// castTo is the type to which the tokens from i up to j are cast directly, "" where they are not.
func (l *linter) castTo(i, j int) string {
	for l.at(i-1).is("(") && l.at(j).is(")") && !l.at(i-2).is("cast", "try_cast") && (l.at(i-2).kind == symbol || l.at(i-2).kind == end) {
		i, j = i-1, j+1
	}
	if l.at(i-1).is("(") && l.at(i-2).is("cast", "try_cast") && l.at(j).is("as") {
		return l.typeName(j+1, l.match[i-1])
	}
	return ""
}

// itemStart is the first token of the item of a list that ends before i.
func (l *linter) itemStart(i int) int {
	for j := i - 1; j >= 0; j-- {
		if l.match[j] >= 0 && l.match[j] < j {
			j = l.match[j]
			continue
		}
		if l.ts[j].is(",", "(", "[", "select", "distinct", "all", "from", "join", "by", "where", "on", "having") {
			return j + 1
		}
	}
	return 0
}

// ofTable says whether an alias at i is one of a table: of what FROM or JOIN names.
func (l *linter) ofTable(i int) bool {
	for j := i - 1; j >= 0; j-- {
		if l.match[j] >= 0 && l.match[j] < j {
			j = l.match[j]
			continue
		}
		switch {
		case l.ts[j].is("from", "join"):
			return true
		case l.ts[j].is("select", "(", "where", "by", "on", "having"):
			return false
		}
	}
	return false
}

// primary returns where the operand that begins at i ends.
func (l *linter) primary(i int) int { return min(l.operand(i), len(l.ts)-1) }

func (l *linter) operand(i int) int {
	for l.at(i).is("-", "+", "not") {
		i++
	}
	t := l.at(i)
	switch {
	case t.is("case"):
		return l.caseEnd(i)
	case t.is("interval"):
		i++
		if l.at(i).is("-", "+") {
			i++
		}
		return i + 2
	case t.is("date", "timestamp", "uuid", "time", "decimal") && l.at(i+1).kind == str:
		i += 2
	case t.is("(", "["):
		i = l.match[i] + 1
	case t.is("array") && l.at(i+1).is("["):
		i = l.match[i+1] + 1
	case t.kind == end:
		return i
	default:
		i++
	}
	for {
		switch {
		case l.at(i).is("(") && l.at(i-1).name():
			i = l.match[i] + 1
		case l.at(i).is("["):
			i = l.match[i] + 1
		case l.at(i).is(".") && (l.at(i+1).name() || l.at(i+1).is("*")):
			i += 2
		case l.at(i).is("over") && l.at(i+1).is("("), l.at(i).is("filter") && l.at(i+1).is("("):
			i = l.match[i+1] + 1
		case l.at(i).is("over") && l.at(i+1).name():
			i += 2
		case l.at(i).is("at") && l.at(i+1).is("time"):
			i += 4
		default:
			return i
		}
	}
}

func (l *linter) caseEnd(i int) int {
	depth := 0
	for ; i < len(l.ts); i++ {
		switch {
		case l.ts[i].is("case"):
			depth++
		case l.ts[i].is("end"):
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(l.ts) - 1
}

// primaryBack returns where the operand that ends before i begins.
func (l *linter) primaryBack(i int) int {
	j := i - 1
	if l.at(j).name() && slices.Contains(intervalUnits, l.at(j).text) && l.at(j-1).kind == str && l.at(j-2).is("interval") {
		return j - 2
	}
	if l.at(j).kind == str && l.at(j-1).is("zone") && l.at(j-3).is("at") {
		return l.primaryBack(j - 3)
	}
	if l.at(j).is("end") {
		depth := 0
		for ; j >= 0; j-- {
			switch {
			case l.ts[j].is("end"):
				depth++
			case l.ts[j].is("case"):
				if depth--; depth == 0 {
					return j
				}
			}
		}
		return 0
	}
	for {
		switch {
		case l.at(j).is(")", "]") && l.match[j] >= 0:
			j = l.match[j]
			before := l.at(j - 1)
			switch {
			case before.is("over", "filter") && l.at(j-2).is(")"):
				j -= 2
				continue
			case before.name() && (before.kind == quoted || !keyword(before.text)), before.is("filter"), before.is(")", "]") && l.ts[j].is("["), before.is("array"):
				j--
				if l.at(j).is(")", "]") {
					continue
				}
			default:
				return j
			}
		case l.at(j).kind == str && l.at(j-1).is("date", "timestamp", "uuid", "time", "decimal"):
			return j - 1
		}
		if l.at(j-1).is(".") && j >= 2 {
			j -= 2
			continue
		}
		return j
	}
}

var intervalUnits = []string{"second", "minute", "hour", "day", "week", "month", "year"}
