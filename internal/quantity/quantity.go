// Package quantity reads and compares amounts of CPU and memory as the service spells them: decimal digits with at
// most one point, and an optional suffix.
//
//	2  2.5  500m          cores
//	512Mi  1.5Gi  1G      bytes
//
// ParseWire takes all that Kubernetes does, as a server has to. The arithmetic is exact.
package quantity

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strings"
)

// maxLength bounds the text of a quantity: exact arithmetic on digits without end would cost time without end.
const maxLength = 64

// A Value is an amount that is not negative. The zero Value is zero. Values are immutable.
type Value struct {
	r *big.Rat // nil: zero
}

// suffix is a unit and what one of it stands for.
type suffix struct {
	name string
	unit *big.Rat
}

// suffixes are the known ones, longer names first, so that the first that fits is the right one.
var suffixes = []suffix{
	{"Ki", power(2, 10)}, {"Mi", power(2, 20)}, {"Gi", power(2, 30)},
	{"Ti", power(2, 40)}, {"Pi", power(2, 50)}, {"Ei", power(2, 60)},
	{"k", power(10, 3)}, {"M", power(10, 6)}, {"G", power(10, 9)},
	{"T", power(10, 12)}, {"P", power(10, 15)}, {"E", power(10, 18)},
	{"m", milli},
}

var milli = big.NewRat(1, 1000)

func power(base, exponent int64) *big.Rat {
	return new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(base), big.NewInt(exponent), nil))
}

// Parse reads a quantity. Signs, exponents, blanks and digits without a value on both sides of a point are refused.
func Parse(text string) (Value, error) {
	if text == "" {
		return Value{}, errors.New("empty quantity")
	}
	if len(text) > maxLength {
		return Value{}, fmt.Errorf("quantity is longer than %d characters", maxLength)
	}
	digits, unit := split(text)
	if !decimal(digits) {
		return Value{}, fmt.Errorf("invalid quantity %q: want digits with at most one point, and a suffix of m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei or none", text)
	}
	r, _ := new(big.Rat).SetString(digits) // digits are a decimal: it cannot fail
	if unit != nil {
		r.Mul(r, unit)
	}
	return Value{r}, nil
}

// wire is Kubernetes' notation of an amount that is not negative. An exponent and a suffix exclude each other.
var wire = regexp.MustCompile(`^\+?([0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE]([+-]?[0-9]{1,2})|([numkMGTPE]|[KMGTPE]i)?)$`)

// fine are the units that Parse does not know.
var fine = map[string]*big.Rat{"n": big.NewRat(1, 1e9), "u": big.NewRat(1, 1e6)}

// ParseWire reads a quantity in Kubernetes' notation, in which clients may write that check less than Parse does: 1e3, .5,
// 100u.
func ParseWire(text string) (Value, error) {
	parts := wire.FindStringSubmatch(text)
	if len(text) > maxLength || parts == nil {
		return Parse(text) // which says what is wrong
	}
	digits, exponent, name := "0"+parts[1], cmp.Or(parts[2], "0"), parts[3]
	r, _ := new(big.Rat).SetString(digits + "e" + exponent) // it cannot fail
	if unit := fine[name]; unit != nil {
		return Value{r.Mul(r, unit)}, nil
	}
	if _, unit := split(name); unit != nil {
		r.Mul(r, unit)
	}
	return Value{r}, nil
}

// split separates the suffix; unit is nil without one.
func split(text string) (digits string, unit *big.Rat) {
	for _, s := range suffixes {
		if digits, found := strings.CutSuffix(text, s.name); found {
			return digits, s.unit
		}
	}
	return text, nil
}

// decimal reports whether text is digits, or digits on both sides of one point.
func decimal(text string) bool {
	whole, fraction, point := strings.Cut(text, ".")
	return allDigits(whole) && (!point || allDigits(fraction))
}

func allDigits(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}

// Cmp returns -1, 0 or +1 when v is less than, equal to or greater than w.
func (v Value) Cmp(w Value) int { return v.rat().Cmp(w.rat()) }

// Add returns v + w.
func (v Value) Add(w Value) Value { return Value{new(big.Rat).Add(v.rat(), w.rat())} }

// IsZero reports whether v is zero.
func (v Value) IsZero() bool { return v.rat().Sign() == 0 }

// Ceil returns v as a whole number, rounded up; amounts beyond int64 become the largest one.
func (v Value) Ceil() int64 { return ceil(v.rat()) }

// CeilMilli returns v in thousandths, as Ceil does.
func (v Value) CeilMilli() int64 { return ceil(new(big.Rat).Quo(v.rat(), milli)) }

func ceil(r *big.Rat) int64 {
	whole, rest := new(big.Int).QuoRem(r.Num(), r.Denom(), new(big.Int))
	if rest.Sign() > 0 {
		whole.Add(whole, big.NewInt(1))
	}
	if !whole.IsInt64() {
		return math.MaxInt64
	}
	return whole.Int64()
}

// String returns the canonical form: a whole number in the largest binary unit that divides it ("768Mi", "3"), another
// amount in thousandths ("1500m"), and what is finer still as a plain decimal ("0.00025"). Parse reads it back as the
// same Value.
func (v Value) String() string {
	r := v.rat()
	if r.IsInt() {
		return whole(r.Num())
	}
	if thousandths := new(big.Rat).Quo(r, milli); thousandths.IsInt() {
		return thousandths.Num().String() + "m"
	}
	places, _ := r.FloatPrec() // decimals have a finite expansion
	return r.FloatString(places)
}

// whole writes a number in the largest binary unit that divides it.
func whole(n *big.Int) string {
	const units = "KMGTPE"
	shift := uint(0)
	for i := range units {
		if n.TrailingZeroBits() < shift+10 {
			break
		}
		shift = uint(i+1) * 10
	}
	if shift == 0 || n.Sign() == 0 {
		return n.String()
	}
	return new(big.Int).Rsh(n, shift).String() + units[shift/10-1:shift/10] + "i"
}

// rat is never nil and must not be changed.
func (v Value) rat() *big.Rat {
	if v.r == nil {
		return new(big.Rat)
	}
	return v.r
}
