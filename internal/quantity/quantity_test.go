package quantity

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCanonicalForm(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"0", "0"},
		{"0Gi", "0"},
		{"0.0", "0"},
		{"2", "2"},
		{"007", "7"},
		{"2.5", "2500m"},
		{"1500m", "1500m"},
		{"2000m", "2"},
		{"0.25m", "0.00025"},
		{"1023", "1023"},
		{"1024", "1Ki"},
		{"1025", "1025"},
		{"1536Ki", "1536Ki"},
		{"768Mi", "768Mi"},
		{"1024Mi", "1Gi"},
		{"1.5Gi", "1536Mi"},
		{"1k", "1000"},
		{"1G", "1000000000"},
		{"1.001Ki", "1025024m"},
		{"3Ti", "3Ti"},
		{"3Pi", "3Pi"},
		{"3Ei", "3Ei"},
		{"2048Ei", "2048Ei"},
		{"5M", "5000000"},
		{"5T", "4882812500Ki"},
		{"1P", "976562500000Ki"},
		{"1E", "976562500000000Ki"},
	} {
		t.Run(tt.text, func(t *testing.T) {
			v, err := Parse(tt.text)
			require.NoError(t, err)
			assert.Equal(t, tt.want, v.String())
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"", " ", "m", "Gi", ".", ".5", "5.", "1.2.3", "-1", "+1", "1_0", "1e3", "1e3Mi", "0x10", "NaN", "Infinity",
		" 1", "1 ", "1 Gi", "1K", "1KI", "1g", "1Mib", "1mm", "1n", "1u", "1,5", "١", "1\x00", strings.Repeat("1", 65),
	} {
		t.Run(text, func(t *testing.T) {
			_, err := Parse(text)
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestParseWire(t *testing.T) {
	for text, want := range map[string]string{
		"1e3": "1000", "1E3": "1000", "1e-3": "1m", "2.5e+1": "25", ".5": "500m", "5.": "5", "+1": "1", "100u": "0.0001",
		"1n": "0.000000001", "1E": "976562500000000Ki", "1.5Gi": "1536Mi", "500m": "500m", "0": "0",
	} {
		v, err := ParseWire(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, v.String(), text)
	}
	for _, text := range []string{
		"", " ", ".", "-1", "1e3Mi", "1e", "1e100", "e3", "1_0", "0x10", "NaN", "Infinity", " 1", "1 ", "1K", "1g", "1ee3",
		strings.Repeat("1", 65),
	} {
		_, err := ParseWire(text)
		assert.Error(t, err, text)
	}
}

func TestCompareIsExact(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"1", "1000m", 0},
		{"1.0000000000000000000000000000001", "1", 1},
		{"1500m", "2", -1},
		{"1Gi", "1G", 1},
		{"1Gi", "1073741824", 0},
		{"8Ei", "9223372036854775807", 1},
		{"0", "0m", 0},
	} {
		assert.Equal(t, tt.want, parse(t, tt.a).Cmp(parse(t, tt.b)), "%s and %s", tt.a, tt.b)
		assert.Equal(t, -tt.want, parse(t, tt.b).Cmp(parse(t, tt.a)), "%s and %s", tt.b, tt.a)
	}
}

func TestAdd(t *testing.T) {
	assert.Equal(t, "2250m", parse(t, "250m").Add(parse(t, "2")).String())
	assert.Equal(t, "768Mi", parse(t, "512Mi").Add(parse(t, "0.25Gi")).String())

	var sum Value
	part := parse(t, "0.1")
	for range 10 {
		sum = sum.Add(part)
	}
	assert.Equal(t, "1", sum.String())
	assert.Equal(t, "100m", part.String(), "an operand stays what it was")
}

func TestCeil(t *testing.T) {
	for _, tt := range []struct {
		text         string
		whole, milli int64
	}{
		{"0", 0, 0},
		{"2", 2, 2000},
		{"2500m", 3, 2500},
		{"0.0001m", 1, 1},
		{"1.5Ki", 1536, 1_536_000},
		{"9223372036854775807", math.MaxInt64, math.MaxInt64},
		{"8Ei", math.MaxInt64, math.MaxInt64},
		{"100Ei", math.MaxInt64, math.MaxInt64},
	} {
		assert.Equal(t, tt.whole, parse(t, tt.text).Ceil(), tt.text)
		assert.Equal(t, tt.milli, parse(t, tt.text).CeilMilli(), tt.text)
	}
	var zero Value
	assert.Zero(t, zero.Ceil())
	assert.Zero(t, zero.CeilMilli())
}

func TestZeroValue(t *testing.T) {
	var zero Value
	assert.True(t, zero.IsZero())
	assert.True(t, parse(t, "0.000").IsZero())
	assert.False(t, parse(t, "1m").IsZero())
	assert.Equal(t, "0", zero.String())
	assert.Zero(t, zero.Cmp(parse(t, "0")))
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"1500m", "2.5", "768Mi", "0", "1e3", "-1", "00.10Ei", "0.0001m"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := Parse(text)
		if err != nil {
			return
		}
		canonical := v.String()
		again, err := Parse(canonical)
		if err != nil {
			// Only the text can have grown out of bounds: a short fraction of a tiny unit has many digits.
			require.Greater(t, len(canonical), maxLength)
			return
		}
		require.Zero(t, v.Cmp(again), "%q became %q", text, canonical)
		require.Equal(t, canonical, again.String(), "a canonical form is its own")
		require.GreaterOrEqual(t, v.Add(v).Cmp(v), 0)
	})
}

func parse(t *testing.T, text string) Value {
	t.Helper()
	v, err := Parse(text)
	require.NoError(t, err)
	return v
}
