package functions

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

const urlCategory = "URL"

// urlPart makes a function that takes a part of a URL; an absent part is null.
func urlPart(name, doc string, part func(u *uri) (string, bool), examples ...Example) Function {
	return Function{Name: name, Category: urlCategory, Doc: doc, Examples: examples, Variants: []Variant{{Params: params(String), Returns: of(String),
		Call: func(a []connect.Value) (connect.Value, error) {
			u, err := parseURI(a[0].Str())
			if err != nil {
				return connect.Value{}, err
			}
			if s, ok := part(&u); ok {
				return connect.String(s), nil
			}
			return connect.Value{}, nil
		}}}}
}

func webFunctions() []Function {
	return []Function{
		urlPart("URL_EXTRACT_PROTOCOL", "The protocol of a URL.", func(u *uri) (string, bool) { return u.scheme, u.scheme != "" }, Example{"URL_EXTRACT_PROTOCOL('https://a.b:80/c')", `"https"`}),
		urlPart("URL_EXTRACT_HOST", "The host of a URL.", func(u *uri) (string, bool) { return u.host, u.hasHost }, Example{"URL_EXTRACT_HOST('https://a.b:80/c')", `"a.b"`}),
		urlPart("URL_EXTRACT_PATH", "The path of a URL.", func(u *uri) (string, bool) { return u.path, u.hasPath }, Example{"URL_EXTRACT_PATH('https://a.b:80/c?d=1')", `"/c"`}),
		urlPart("URL_EXTRACT_QUERY", "What follows the question mark of a URL.", func(u *uri) (string, bool) { return u.query, u.hasQuery }, Example{"URL_EXTRACT_QUERY('https://a.b/c?d=1&e=x%20y')", `"d=1&e=x y"`}),
		urlPart("URL_EXTRACT_FRAGMENT", "What follows the # of a URL.", func(u *uri) (string, bool) { return u.fragment, u.hasFragment }, Example{"URL_EXTRACT_FRAGMENT('https://a.b/c#d')", `"d"`}),
		{Name: "URL_EXTRACT_PORT", Category: urlCategory, Doc: "The port of a URL, null when it names none.", Examples: []Example{{"URL_EXTRACT_PORT('https://a.b:80/c')", "80"}, {"URL_EXTRACT_PORT('https://a.b')", "null"}},
			Variants: []Variant{{Params: params(String), Returns: of(Int), Call: func(a []connect.Value) (connect.Value, error) {
				u, err := parseURI(a[0].Str())
				if err != nil || u.port < 0 {
					return connect.Value{}, err
				}
				return connect.Int32(int32(u.port)), nil
			}}}},
		{Name: "URL_EXTRACT_PARAMETER", Category: urlCategory, Doc: "The value of a parameter in a URL's query, empty when it is named without one, null when it is not named.",
			Examples: []Example{{"URL_EXTRACT_PARAMETER('https://a.b/c?d=1&e=x%20y', 'e')", `"x y"`}, {"URL_EXTRACT_PARAMETER('https://a.b/c?d', 'd')", `""`}},
			Variants: []Variant{{Params: params(String, String), Returns: of(String), Call: extractParameter}}},
		{Name: "URL_ENCODE_PARAM", Category: urlCategory, Doc: "The string with what has a meaning in a URL escaped.", Examples: []Example{{"URL_ENCODE_PARAM('a b&c~*')", `"a+b%26c%7E*"`}},
			Variants: []Variant{{Params: params(String), Returns: of(String), Call: func(a []connect.Value) (connect.Value, error) {
				return connect.String(encodeParam(a[0].Str())), nil
			}}}},
		{Name: "URL_DECODE_PARAM", Category: urlCategory, Doc: "The string with the escapes of a URL taken away.", Examples: []Example{{"URL_DECODE_PARAM('a+b%26c')", `"a b&c"`}},
			Variants: []Variant{{Params: params(String), Returns: of(String), Call: func(a []connect.Value) (connect.Value, error) {
				s, err := url.QueryUnescape(a[0].Str())
				return connect.String(s), err
			}}}},
		{Name: "GEO_DISTANCE", Category: "GEO", Doc: "The distance between two points, given as latitude and longitude each, in kilometres (KM), or in MILES.", Examples: []Example{
			{"ROUND(GEO_DISTANCE(37.4e0, -122.1e0, 51.5e0, -0.1e0), 0)", "8638.0"}, {"ROUND(GEO_DISTANCE(37.4e0, -122.1e0, 51.5e0, -0.1e0, 'MI'), 0)", "5368.0"}},
			Variants: []Variant{{Params: params(Double, Double, Double, Double), Returns: of(Double), Call: geoDistance},
				{Params: params(Double, Double, Double, Double, String), Returns: of(Double), Nulls: true, Call: geoDistance}}},
	}
}

// extractParameter looks in the query as it reads without escapes, as ksqlDB does.
func extractParameter(a []connect.Value) (connect.Value, error) {
	u, err := parseURI(a[0].Str())
	if err != nil || !u.hasQuery {
		return connect.Value{}, err
	}
	for _, p := range strings.Split(u.query, "&") {
		if name, value, _ := strings.Cut(p, "="); name == a[1].Str() {
			return connect.String(value), nil
		}
	}
	return connect.Value{}, nil
}

// encodeParam escapes as HTML forms do.
func encodeParam(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(s), "~", "%7E"), "%2A", "*")
}

// geoDistance is the haversine formula on a sphere.
func geoDistance(a []connect.Value) (connect.Value, error) {
	for i, v := range a[:4] {
		most := 90.0 + 90*float64(i%2)
		if v.IsNull() {
			return v, nil
		}
		if math.Abs(v.Float()) > most {
			return connect.Value{}, fmt.Errorf("a latitude is from -90 to 90 and a longitude from -180 to 180, not %v", v.Float())
		}
	}
	radius := 6371.0
	if len(a) > 4 && !a[4].IsNull() {
		switch unit := strings.ToLower(strings.TrimSpace(a[4].Str())); {
		case slices.Contains([]string{"mi", "mile", "miles"}, unit):
			radius = 3959
		case !slices.Contains([]string{"", "km", "kilometer", "kilometers", "kilometre", "kilometres"}, unit):
			return connect.Value{}, errors.New("a distance is in KM or MILES, not " + a[4].Str())
		}
	}
	at := func(i int) float64 { return a[i].Float() }
	lat, lon := math.Sin(radians(at(2)-at(0))/2), math.Sin(radians(at(3)-at(1))/2)
	h := lat*lat + lon*lon*math.Cos(radians(at(0)))*math.Cos(radians(at(2)))
	return connect.Float64(2 * math.Asin(math.Sqrt(h)) * radius), nil
}
