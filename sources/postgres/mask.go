package postgres

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidemill/tidemill/connect"
)

// columnMask changes the text of some columns before anyone sees it.
type columnMask struct {
	columns patterns
	// apply returns the masked text; length is the column's declared length, 0 for
	// none.
	apply func(text string, length int) string
	// param says in the column's schema that its values are not what they were.
	param connect.Param
	// hidesNull tells that nulls are masked like all other values.
	hidesNull bool
}

var (
	maskChars    = regexp.MustCompile(`^column\.mask\.with\.([0-9]+)\.chars$`)
	maskTruncate = regexp.MustCompile(`^column\.truncate\.to\.([0-9]+)\.chars$`)
	maskHash     = regexp.MustCompile(`^column\.mask\.hash(\.v2)?\.([^.]+)\.with\.salt\.(.+)$`)
)

// parseMasks reads the settings whose names hold a parameter, in the order of their
// names.
func parseMasks(config connect.Config) (masks []columnMask, faults connect.Errors) {
	var names []string
	for name := range config {
		if strings.HasPrefix(name, "column.mask.") || strings.HasPrefix(name, "column.truncate.to.") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		mask, err := parseMask(name)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		columns, bad := compilePatterns(splitTrimmed(config[name], ","))
		if bad != nil {
			faults = append(faults, connect.ConfigError(name, "%s", bad))
			continue
		}
		mask.columns = columns
		masks = append(masks, mask)
	}
	return masks, faults
}

func parseMask(name string) (columnMask, *connect.Error) {
	masked := connect.Param{Key: "masked", Value: "true"}
	none := columnMask{}
	if m := maskChars.FindStringSubmatch(name); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil || n > 1<<20 {
			return none, connect.ConfigError(name, "the number of characters is too large")
		}
		stars := strings.Repeat("*", n)
		return columnMask{apply: func(string, int) string { return stars }, param: masked, hidesNull: true}, nil
	}
	if m := maskTruncate.FindStringSubmatch(name); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			return none, connect.ConfigError(name, "the number of characters is too large")
		}
		return columnMask{apply: func(text string, _ int) string { return firstRunes(text, n) }, param: connect.Param{Key: "truncateLength", Value: m[1]}}, nil
	}
	if m := maskHash.FindStringSubmatch(name); m != nil {
		sum := hashFunc(m[2])
		if sum == nil {
			return none, connect.ConfigError(name, "the hash %s is not known; MD5, SHA-1, SHA-256, SHA-384 and SHA-512 are", m[2])
		}
		return columnMask{apply: hashMask(sum, m[3], m[1] == ""), param: masked}, nil
	}
	return none, connect.ConfigError(name, "this is none of column.mask.with.<n>.chars, column.truncate.to.<n>.chars and column.mask.hash[.v2].<algorithm>.with.salt.<salt>")
}

func firstRunes(text string, n int) string {
	for i := range text {
		if n == 0 {
			return text[:i]
		}
		n--
	}
	return text
}

func hashFunc(name string) func() hash.Hash {
	switch strings.ToUpper(strings.ReplaceAll(name, "-", "")) {
	case "MD5":
		return md5.New
	case "SHA1", "SHA":
		return sha1.New
	case "SHA256":
		return sha256.New
	case "SHA384":
		return sha512.New384
	case "SHA512":
		return sha512.New
	}
	return nil
}

// hashMask returns the salted hash in hex digits, cut to the column's length. The
// first version of this mask hashes Java's serialised form of the string, the
// second its UTF-8 bytes.
func hashMask(sum func() hash.Hash, salt string, serialised bool) func(string, int) string {
	return func(text string, length int) string {
		h := sum()
		h.Write([]byte(salt))
		if serialised && len(text) < 1<<16 {
			h.Write([]byte{0xac, 0xed, 0x00, 0x05, 't', byte(len(text) >> 8), byte(len(text))})
		}
		h.Write([]byte(text))
		digits := hex.EncodeToString(h.Sum(nil))
		if length > 0 && utf8.RuneCountInString(digits) > length {
			digits = digits[:length]
		}
		return digits
	}
}

// maskOf returns the masks for a column, nil when there are none.
func (f *filter) maskOf(t tableName, column string) (list []*columnMask) {
	for i, m := range f.masks {
		if m.columns.match(t.String() + "." + column) {
			list = append(list, &f.masks[i])
		}
	}
	return list
}

// maskSchema adds to a field's schema what its masks do to it.
func maskSchema(def *connect.SchemaDef, masks []*columnMask) {
	for _, m := range masks {
		def.Params = append(slices.Clone(def.Params), m.param)
	}
	if len(masks) > 0 {
		def.Default = connect.Value{} // It would tell what the mask hides.
	}
}

// maskColumn puts masks before a column that holds strings.
func maskColumn(cp *columnPlan, masks []*columnMask, length int) {
	cp.masked, cp.decode = true, masked(cp.decode, masks, length)
	if cp.binary != nil {
		cp.binary = masked(cp.binary, masks, length)
	}
	for i, m := range masks {
		if m.hidesNull {
			text := m.apply("", length)
			for _, further := range masks[i+1:] {
				text = further.apply(text, length)
			}
			cp.null = connect.String(text)
		}
	}
}

// masked wraps a decoder of strings with masks.
func masked(decode decodeFunc, masks []*columnMask, length int) decodeFunc {
	return func(a *arena, text []byte) (connect.Value, error) {
		v, err := decode(a, text)
		if err != nil || v.IsNull() {
			return v, err
		}
		s := v.Str()
		for _, mask := range masks {
			s = mask.apply(s, length)
		}
		return connect.String(s), nil
	}
}
