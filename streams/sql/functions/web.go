package functions

import (
	"math"
	"net/url"
	"strconv"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

const urlCategory = "URL"

// urlPart makes a function that takes a part of a URL; an absent part is null.
func urlPart(name, doc string, part func(u *url.URL) (string, bool), examples ...Example) Function {
	return Function{Name: name, Category: urlCategory, Doc: doc, Examples: examples, Variants: []Variant{{Params: params(String), Returns: of(String),
		Call: func(a []connect.Value) (connect.Value, error) {
			u, err := url.Parse(a[0].Str())
			if err != nil {
				return connect.Value{}, err
			}
			if s, ok := part(u); ok {
				return connect.String(s), nil
			}
			return connect.Value{}, nil
		}}}}
}

func webFunctions() []Function {
	present := func(s string) (string, bool) { return s, s != "" }
	return []Function{
		urlPart("URL_EXTRACT_PROTOCOL", "The protocol of a URL.", func(u *url.URL) (string, bool) { return present(u.Scheme) }, Example{"URL_EXTRACT_PROTOCOL('https://a.b:80/c')", `"https"`}),
		urlPart("URL_EXTRACT_HOST", "The host of a URL.", func(u *url.URL) (string, bool) { return present(u.Hostname()) }, Example{"URL_EXTRACT_HOST('https://a.b:80/c')", `"a.b"`}),
		urlPart("URL_EXTRACT_PATH", "The path of a URL.", func(u *url.URL) (string, bool) { return u.Path, true }, Example{"URL_EXTRACT_PATH('https://a.b:80/c?d=1')", `"/c"`}),
		urlPart("URL_EXTRACT_QUERY", "What follows the question mark of a URL.", func(u *url.URL) (string, bool) { return present(u.RawQuery) }, Example{"URL_EXTRACT_QUERY('https://a.b/c?d=1&e=2')", `"d=1&e=2"`}),
		urlPart("URL_EXTRACT_FRAGMENT", "What follows the # of a URL.", func(u *url.URL) (string, bool) { return present(u.Fragment) }, Example{"URL_EXTRACT_FRAGMENT('https://a.b/c#d')", `"d"`}),
		{Name: "URL_EXTRACT_PORT", Category: urlCategory, Doc: "The port of a URL, null when it names none.", Examples: []Example{{"URL_EXTRACT_PORT('https://a.b:80/c')", "80"}, {"URL_EXTRACT_PORT('https://a.b')", "null"}},
			Variants: []Variant{{Params: params(String), Returns: of(Int), Call: func(a []connect.Value) (connect.Value, error) {
				u, err := url.Parse(a[0].Str())
				if err != nil || u.Port() == "" {
					return connect.Value{}, err
				}
				n, err := strconv.Atoi(u.Port())
				return connect.Int32(int32(n)), err
			}}}},
		{Name: "URL_EXTRACT_PARAMETER", Category: urlCategory, Doc: "The value of a parameter in a URL's query.", Examples: []Example{{"URL_EXTRACT_PARAMETER('https://a.b/c?d=1&e=x%20y', 'e')", `"x y"`}},
			Variants: []Variant{{Params: params(String, String), Returns: of(String), Call: func(a []connect.Value) (connect.Value, error) {
				u, err := url.Parse(a[0].Str())
				if err != nil || !u.Query().Has(a[1].Str()) {
					return connect.Value{}, err
				}
				return connect.String(u.Query().Get(a[1].Str())), nil
			}}}},
		oneString("URL_ENCODE_PARAM", "The string with what has a meaning in a URL escaped.", url.QueryEscape, Example{"URL_ENCODE_PARAM('a b&c')", `"a+b%26c"`}),
		oneString("URL_DECODE_PARAM", "The string with the escapes of a URL taken away.", func(s string) string {
			if d, err := url.QueryUnescape(s); err == nil {
				return d
			}
			return s
		}, Example{"URL_DECODE_PARAM('a+b%26c')", `"a b&c"`}),
		{Name: "GEO_DISTANCE", Category: "GEO", Doc: "The distance between two points, given as latitude and longitude each, in kilometres or in MILES.", Examples: []Example{
			{"ROUND(GEO_DISTANCE(37.4e0, -122.1e0, 51.5e0, -0.1e0), 0)", "8638.0"}},
			Variants: []Variant{{Params: params(Double, Double, Double, Double), Returns: of(Double), Call: geoDistance}, {Params: params(Double, Double, Double, Double, String), Returns: of(Double), Call: geoDistance}}},
	}
}

// geoDistance is the haversine formula on a sphere.
func geoDistance(a []connect.Value) (connect.Value, error) {
	radius := 6371.0
	if len(a) > 4 && strings.HasPrefix(strings.ToUpper(a[4].Str()), "MI") {
		radius = 3959
	}
	rad := func(i int) float64 { return a[i].Float() * math.Pi / 180 }
	lat, lon := math.Sin((rad(2)-rad(0))/2), math.Sin((rad(3)-rad(1))/2)
	h := lat*lat + math.Cos(rad(0))*math.Cos(rad(2))*lon*lon
	return connect.Float64(2 * radius * math.Asin(math.Sqrt(h))), nil
}
