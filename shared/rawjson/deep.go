package rawjson

// validDeep is validValue for a value at b[i] that may be nested to any depth. It does not recurse: its memory is a bit for each level, at most an eighth of
// b. It is several times slower, and for the rare value that validValue gave up.
func validDeep(b []byte, i int) int {
	var open levels
	for {
		// A value begins at b[i].
		switch {
		case i < len(b) && (b[i] == '{' || b[i] == '['):
			object := b[i] == '{'
			i = skipSpace(b, i+1)
			if i < len(b) && b[i] == closing(object) {
				i++
				break
			}
			open.push(object)
			if object {
				if i = validName(b, i); i < 0 {
					return -1
				}
			}
			continue
		default:
			if i = validValue(b, i, 0); i < 0 {
				return -1
			}
		}
		// A value ended before b[i]: close what ends with it, up to the next one.
		for {
			if open.n == 0 {
				return i
			}
			object := open.top()
			if i = skipSpace(b, i); i >= len(b) {
				return -1
			}
			if b[i] == closing(object) {
				open.n--
				i++
				continue
			}
			if b[i] != ',' {
				return -1
			}
			i = skipSpace(b, i+1)
			if object {
				if i = validName(b, i); i < 0 {
					return -1
				}
			}
			break
		}
	}
}

// validName returns the index of the value of the member whose name is at b[i], or -1.
func validName(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	if i = validString(b, i+1); i < 0 {
		return -1
	}
	if i = skipSpace(b, i); i >= len(b) || b[i] != ':' {
		return -1
	}
	return skipSpace(b, i+1)
}

func closing(object bool) byte {
	if object {
		return '}'
	}
	return ']'
}

// levels are the containers that are open, from the outermost on: a set bit is an object.
type levels struct {
	bits []uint64
	n    int
}

func (l *levels) push(object bool) {
	if l.n/64 == len(l.bits) {
		l.bits = append(l.bits, 0)
	}
	bit := uint64(1) << (l.n % 64)
	l.bits[l.n/64] &^= bit
	if object {
		l.bits[l.n/64] |= bit
	}
	l.n++
}

func (l *levels) top() bool { return l.bits[(l.n-1)/64]&(1<<((l.n-1)%64)) != 0 }
