package functions

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tidemill/tidemill/connect"
)

// TestFromJava writes patterns of Java as those of Go.
func TestFromJava(t *testing.T) {
	for pattern, want := range map[string]string{
		`a.b`: `a[^\n\r\x{85}\x{2028}\x{2029}]b`, `(?s)a.b`: `(?s)a.b`, `(?i)a\.`: `(?i)a\.`, `[.]`: `[.]`,
		`\h+`: `[\t \x{a0}\x{1680}\x{180e}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}]+`, `[\p{Alpha}_]`: `[a-zA-Z_]`, `\p{IsGreek}`: `\p{Greek}`,
		`\u00e9`: `\x{00e9}`, `\Q.*\E+`: `\.\*+`, `[]a]`: `[\]a]`, `[^]]`: `[^\]]`, `a\`: `a\`,
	} {
		got, err := fromJava(pattern)
		if err != nil || got != want {
			t.Errorf("%s is %s (%v), not %s", pattern, got, err, want)
		}
	}
	for _, pattern := range []string{`[a[b]]`, `[a-z&&b]`, `(?=a)`, `(?<!a)b`, `(a)\1`, `a++`, `(?>a)`, `[a`, `\Z`} {
		if _, err := compileJava(pattern); err == nil {
			t.Errorf("%s is not refused", pattern)
		}
	}
}

// TestMatcher finds the matches after each place of a text with the text before it in sight.
func TestMatcher(t *testing.T) {
	for _, c := range []struct{ pattern, text, want string }{
		{`a*`, "baac", "0-0 1-3 3-3 4-4"}, {`\b`, "ab c", "0-0 2-2 3-3 4-4"}, {`^a`, "aa", "0-1"}, {`(?m)^a`, "a\na", "0-1 2-3"},
		{`a|ab`, "abab", "0-1 2-3"}, {`é`, "éé", "0-2 2-4"}, {``, "é", "0-0 2-2"}, {`x`, "abc", ""}, {`$`, "ab", "2-2"},
	} {
		m, err := compileJava(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		m.all(c.text, func(at []int) { got = append(got, fmt.Sprintf("%d-%d", at[0], at[1])) })
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s matches %v of %q, not %s", c.pattern, got, c.text, c.want)
		}
	}
}

// TestAtPlace compares the rounding of doubles with that of exact decimals.
func TestAtPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.Float64Range(-1e12, 1e12).Draw(t, "f")
		digits := rapid.IntRange(-4, 12).Draw(t, "digits")
		up, down := atPlace(f, digits, halvesUp), atPlace(f, digits, cut)
		unit, step := math.Pow(10, -float64(digits)), math.Nextafter(math.Abs(f), math.Inf(1))-math.Abs(f)
		if math.Abs(up-f) > unit/2+4*step || math.Abs(down-f) > unit+4*step || math.Abs(down) > math.Abs(f) {
			t.Fatalf("%v at %d digits is %v, or %v when it is cut", f, digits, up, down)
		}
	})
}

// TestDistinct counts values exactly while there are few, and nearly when there are many, whatever
// the order they come in and however they are parted.
func TestDistinct(t *testing.T) {
	for _, n := range []int{0, 1, mostExact, mostExact + 1, 5000, 50_000} {
		one, two := []byte{}, []byte{}
		for i := range n {
			hash := hashOf(of(Int), connect.Int32(int32(i)))
			one = addDistinct(one, hash)
			if i%3 > 0 {
				two = addDistinct(two, hash)
			}
		}
		most := 0.0
		if n > mostExact {
			most = 0.03 * float64(n)
		}
		for _, sketch := range [][]byte{one, mergeDistinct(one, two), mergeDistinct(two, one)} {
			if got := countDistinct(sketch); math.Abs(float64(got-int64(n))) > most {
				t.Errorf("%d different values are counted as %d", n, got)
			}
		}
	}
}

// FuzzJSON reads texts as encoding/json does, except for what follows the first value.
func FuzzJSON(f *testing.F) {
	f.Add(`{"a": [1, -2.5e3, "x\u00e9\n", null, true]}`)
	f.Add(`{"a" : {"b":[]}, "a":{}}`)
	f.Fuzz(func(t *testing.T, text string) {
		value, err := jsonRoot([]byte(text))
		if err != nil || value == nil {
			if json.Valid([]byte(text)) {
				t.Fatalf("%q is JSON", text)
			}
			return
		}
		if !json.Valid(value) {
			t.Fatalf("%q is no JSON", value)
		}
		if compact := appendCompact(nil, value); !json.Valid(compact) {
			t.Fatalf("%q becomes %q", value, compact)
		}
	})
}
