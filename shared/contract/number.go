package contract

import (
	"math"
	"math/big"
	"strconv"
	"unsafe"
)

// maxNumber is the length in bytes beyond which a number is not looked at: no producer means it, and exact arithmetic on it costs.
const maxNumber = 1000

var pow10 = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// decimal is a JSON number taken apart: (-1)^neg * mant * 10^exp. Where the digits do not fit in mant, big is set and mant is void.
type decimal struct {
	neg  bool
	mant uint64
	exp  int
	big  bool
}

// maxExp bounds decimal.exp on both sides; what lies beyond is as good as there.
const maxExp = 1 << 20

// split takes apart a number that is valid JSON. Zeros at the end of the fraction are dropped, so that 1.0 reads as 1.
func split(b []byte) decimal {
	var d decimal
	i := 0
	if i < len(b) && b[i] == '-' {
		d.neg = true
		i++
	}
	frac, zeros := false, 0
	for ; i < len(b); i++ {
		c := b[i]
		if c == '.' {
			frac = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		if frac && c == '0' {
			zeros++
			continue
		}
		for ; zeros > 0; zeros-- {
			d.push('0', true)
		}
		d.push(c, frac)
	}
	if i < len(b) { // e or E
		i++
		neg := false
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			neg = b[i] == '-'
			i++
		}
		e := 0
		for ; i < len(b); i++ {
			if e < maxExp {
				e = e*10 + int(b[i]-'0')
			}
		}
		if neg {
			e = -e
		}
		d.exp += e
	}
	d.exp = max(-maxExp, min(maxExp, d.exp))
	return d
}

func (d *decimal) push(c byte, frac bool) {
	if d.mant > (math.MaxUint64-9)/10 {
		d.big = true
		if !frac {
			d.exp++
		}
		return
	}
	d.mant = d.mant*10 + uint64(c-'0')
	if frac {
		d.exp--
	}
}

// ParseInteger reads a JSON number that is mathematically an integer and fits in 64 bits, however it is spelled (1, 1.0, 1e0), as
// JSON Schema's "integer" (draft 2020-12, section 4.2.3) does. Not ok: a fraction, or beyond int64.
func ParseInteger(raw []byte) (n int64, ok bool) {
	if len(raw) <= 18 { // fits in int64 whatever the digits
		i, neg := 0, false
		if len(raw) > 0 && raw[0] == '-' {
			neg, i = true, 1
		}
		start := i
		for ; i < len(raw) && raw[i]-'0' <= 9; i++ {
			n = n*10 + int64(raw[i]-'0')
		}
		if i == len(raw) && (i == start+1 || i > start && raw[start] != '0') {
			if neg {
				n = -n
			}
			return n, true
		}
	}
	if !validNumber(raw) || len(raw) > maxNumber {
		return 0, false
	}
	d := split(raw)
	if d.big {
		return bigInteger(raw)
	}
	if d.mant == 0 {
		return 0, true
	}
	for d.exp < 0 && d.mant%10 == 0 {
		d.mant /= 10
		d.exp++
	}
	if d.exp < 0 || d.exp > 19 {
		return 0, false
	}
	for ; d.exp > 0; d.exp-- {
		if d.mant > math.MaxUint64/10 {
			return 0, false
		}
		d.mant *= 10
	}
	switch {
	case d.neg && d.mant <= 1<<63:
		return -int64(d.mant), true //nolint:gosec // -(1<<63) is int64's smallest
	case !d.neg && d.mant <= math.MaxInt64:
		return int64(d.mant), true
	}
	return 0, false
}

// bigInteger is ParseInteger for more digits than 64 bits hold, as in 1.00000000000000000000.
func bigInteger(raw []byte) (int64, bool) {
	r, ok := rat(raw)
	if !ok || !r.IsInt() || !r.Num().IsInt64() {
		return 0, false
	}
	return r.Num().Int64(), true
}

// rat reads a number exactly. Not ok: longer than maxNumber, or with an exponent that no double has.
func rat(raw []byte) (*big.Rat, bool) {
	if len(raw) > maxNumber {
		return nil, false
	}
	if d := split(raw); d.exp > 400 || d.exp < -1500 {
		if d.mant == 0 && !d.big {
			return new(big.Rat), true
		}
		return nil, false
	}
	return new(big.Rat).SetString(string(raw))
}

// ParseNumber reads a JSON number as a double. Not ok: not a number, or beyond the largest double. What is too small becomes 0.
func ParseNumber(raw []byte) (f float64, ok bool) {
	if !validNumber(raw) {
		return 0, false
	}
	return number(raw)
}

// number is ParseNumber for text that is known to be a JSON number.
func number(raw []byte) (float64, bool) {
	if len(raw) <= 24 {
		// Exact where the digits fit in 53 bits and the power of ten is one that a double holds exactly (Clinger's fast path).
		if d := split(raw); !d.big && d.mant < 1<<53 && d.exp >= -22 && d.exp <= 22 {
			f := float64(d.mant)
			if d.exp < 0 {
				f /= pow10[-d.exp]
			} else {
				f *= pow10[d.exp]
			}
			if d.neg {
				f = -f
			}
			return f, true
		}
	}
	f, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(raw), len(raw)), 64)
	if err != nil { // only ErrRange is left, and that means beyond the largest double
		return 0, false
	}
	return f, true
}

// ParseDecimal reads a JSON number as an unscaled integer with the given scale (digits behind the point): 12.5 at scale 2 is 1250.
// Not ok: more digits behind the point than scale, or more than precision digits in all.
func ParseDecimal(raw []byte, precision, scale int) (unscaled *big.Int, ok bool) {
	if !validNumber(raw) {
		return nil, false
	}
	r, ok := rat(raw)
	if !ok {
		return nil, false
	}
	r.Mul(r, new(big.Rat).SetInt(tenTo(scale)))
	if !r.IsInt() || r.Num().CmpAbs(tenTo(precision)) >= 0 {
		return nil, false
	}
	return r.Num(), true
}

// fitsDecimal is ParseDecimal without the value, quick for numbers of usual length.
func fitsDecimal(raw []byte, precision, scale int) bool {
	d := split(raw)
	if d.big {
		_, ok := ParseDecimal(raw, precision, scale)
		return ok
	}
	if d.mant == 0 {
		return true
	}
	for d.mant%10 == 0 {
		d.mant /= 10
		d.exp++
	}
	digits := len(strconv.AppendUint(nil, d.mant, 10))
	return d.exp >= -scale && digits+d.exp <= precision-scale
}

func tenTo(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

func validNumber(raw []byte) bool {
	n, ok := scanNumber(raw, 0)
	return ok && n == len(raw)
}

// scanNumber returns the index behind the JSON number that starts at b[i].
func scanNumber(b []byte, i int) (int, bool) {
	if i < len(b) && b[i] == '-' {
		i++
	}
	switch {
	case i < len(b) && b[i] == '0':
		i++
	case i < len(b) && b[i] >= '1' && b[i] <= '9':
		for i++; i < len(b) && b[i]-'0' <= 9; i++ {
		}
	default:
		return i, false
	}
	if i < len(b) && b[i] == '.' {
		i++
		start := i
		for ; i < len(b) && b[i]-'0' <= 9; i++ {
		}
		if i == start {
			return i, false
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		start := i
		for ; i < len(b) && b[i]-'0' <= 9; i++ {
		}
		if i == start {
			return i, false
		}
	}
	return i, true
}
