package functions

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidemill/tidemill/connect"
)

// Call computes a function for one row. It must not keep args, and is used by one
// goroutine at a time.
type Call func(args []connect.Value) (connect.Value, error)

// Function is the entry of one scalar function.
type Function struct {
	Name     string
	Category string
	// Doc says in a sentence or two what the function gives.
	Doc      string
	Variants []Variant
	Examples []Example
}

// Example is an expression and what it gives, as JSON. The tests execute it.
type Example struct{ SQL, Want string }

// Variant is one way to call a function. In its types, Any with a name stands for
// one type throughout the signature, a Decimal with a name for one decimal type; Any without
// a name for every type. Whole numbers are widened to what a parameter is, and strings are
// read as times.
type Variant struct {
	Params []Type
	// Variadic says that the last parameter may stand any number of times, but
	// at least once.
	Variadic bool
	Returns  Type
	// Result finds the type returned when it follows from more than names, such as
	// the scale of a decimal; nil when Returns says it.
	Result func(args []Type) (Type, error)
	// Call computes the function; Bind makes a Call for given argument types. One of
	// them is set.
	Call Call
	Bind func(args []Type) (Call, error)
	// Nulls says that Call wants to see nulls; otherwise a null argument makes the
	// result null without a call.
	Nulls bool
}

// Bound is a function made ready for given argument types.
type Bound struct {
	// Params are the types its arguments must be brought to.
	Params  []Type
	Returns Type
	// New makes a Call for one goroutine.
	New func() (Call, error)
}

// Bind chooses the variant that fits the argument types best: exactly, or with the
// least widening of numbers. The error names what there is.
func (f *Function) Bind(args []Type) (Bound, error) {
	best, bestCost := Bound{}, -1
	for i := range f.Variants {
		b, cost, ok := f.Variants[i].fit(args)
		if ok && (bestCost < 0 || cost < bestCost) {
			best, bestCost = b, cost
		}
	}
	if bestCost < 0 {
		return Bound{}, fmt.Errorf("%s does not take (%s); it is %s", f.Name, typeList(args), strings.Join(f.Signatures(), " or "))
	}
	return best, nil
}

// Signatures writes the variants as SQL would.
func (f *Function) Signatures() []string {
	out := make([]string, len(f.Variants))
	for i := range f.Variants {
		v := &f.Variants[i]
		out[i] = f.Name + "(" + paramList(v.Params, v.Variadic) + ")"
	}
	return out
}

func paramList(params []Type, variadic bool) string {
	s := typeList(params)
	if variadic {
		s += ", …"
	}
	return s
}

func typeList(types []Type) string {
	out := make([]string, len(types))
	for i, t := range types {
		out[i] = t.label()
	}
	return strings.Join(out, ", ")
}

// label is String for people: type variables by their names, decimals without
// numbers where they have none.
func (t Type) label() string {
	switch {
	case t.Kind == Any && t.Name != "":
		return t.Name
	case t.Kind == Decimal && t.Precision == 0:
		return "DECIMAL"
	case t.Kind == Array:
		return "ARRAY<" + t.Elem.label() + ">"
	case t.Kind == Map:
		return "MAP<" + t.Key.label() + ", " + t.Elem.label() + ">"
	}
	return t.String()
}

// fit tells whether the variant takes args, and how much widening that costs.
func (v *Variant) fit(args []Type) (Bound, int, bool) {
	if len(args) < len(v.Params) || len(args) > len(v.Params) && !v.Variadic {
		return Bound{}, 0, false
	}
	var vars binding
	cost := 0
	for i, a := range args {
		c, ok := vars.unify(v.param(i), a)
		if !ok {
			return Bound{}, 0, false
		}
		cost += c
	}
	b := Bound{Params: make([]Type, len(args)), Returns: vars.replace(v.Returns)}
	for i, a := range args {
		b.Params[i] = vars.target(v.param(i), a)
	}
	if v.Result != nil {
		t, err := v.Result(b.Params)
		if err != nil {
			return Bound{}, 0, false
		}
		b.Returns = t
	}
	b.New = func() (Call, error) { return v.make(b.Params) }
	return b, cost, true
}

func (v *Variant) param(i int) Type { return v.Params[min(i, len(v.Params)-1)] }

// make returns the Call for one goroutine, with nulls dealt with.
func (v *Variant) make(args []Type) (Call, error) {
	f := v.Call
	if v.Bind != nil {
		var err error
		if f, err = v.Bind(args); err != nil {
			return nil, err
		}
	}
	if v.Nulls {
		return f, nil
	}
	return func(args []connect.Value) (connect.Value, error) {
		for i := range args {
			if args[i].IsNull() {
				return connect.Value{}, nil
			}
		}
		return f(args)
	}, nil
}

// binding holds what the type variables of a signature stand for.
type binding struct {
	names []string
	types []Type
}

// unify tells whether an argument of type arg may stand for a parameter, and how
// much it must be widened.
func (b *binding) unify(param, arg Type) (cost int, ok bool) {
	switch {
	case param.Kind == Any && param.Name == "":
		return 20, true
	case param.Kind == Any:
		return 10, b.bind(param.Name, arg)
	case arg.Kind == Null:
		return 1, true
	case param.Kind == Decimal && param.Name != "" && arg.Numeric() && arg.Kind != Double:
		return width(Decimal) - width(arg.Kind), b.bind(param.Name, asDecimal(arg))
	case arg.Kind == String && (param.Kind == Date || param.Kind == Time || param.Kind == Timestamp):
		return 6, true
	case param.Kind == Array && arg.Kind == Array:
		return b.unify(*param.Elem, *arg.Elem)
	case param.Kind == Map && arg.Kind == Map:
		k, ok := b.unify(*param.Key, *arg.Key)
		if !ok {
			return 0, false
		}
		v, ok := b.unify(*param.Elem, *arg.Elem)
		return k + v, ok
	case param.Kind == arg.Kind:
		return 0, true
	case param.Numeric() && arg.Numeric():
		w := width(param.Kind) - width(arg.Kind)
		return w, w >= 0
	}
	return 0, false
}

// width orders numbers by how far they widen: INTEGER, BIGINT, DECIMAL, DOUBLE.
func width(k Kind) int { return slices.Index([]Kind{Int, Bigint, Decimal, Double}, k) }

// bind makes a variable stand for t, or widens what it stands for.
func (b *binding) bind(name string, t Type) bool {
	i := slices.Index(b.names, name)
	if i < 0 {
		b.names, b.types = append(b.names, name), append(b.types, t)
		return true
	}
	c, ok := Common(b.types[i], t)
	if ok {
		b.types[i] = c
	}
	return ok
}

// replace puts the types for the variables of t.
func (b *binding) replace(t Type) Type {
	switch {
	case t.Name != "" && (t.Kind == Any || t.Kind == Decimal):
		if i := slices.Index(b.names, t.Name); i >= 0 {
			return b.types[i]
		}
		return Type{Kind: Null}
	case t.Kind == Array:
		return ArrayOf(b.replace(*t.Elem))
	case t.Kind == Map:
		return MapOf(b.replace(*t.Key), b.replace(*t.Elem))
	}
	return t
}

// target returns the type an argument must be brought to for a parameter.
func (b *binding) target(param, arg Type) Type {
	switch {
	case param.Kind == Any && param.Name == "":
		return arg
	case param.Kind == Decimal && param.Precision == 0 && param.Name == "":
		return asDecimal(arg)
	}
	return b.replace(param)
}

// asDecimal returns the decimal type that holds all values of the number type t.
func asDecimal(t Type) Type {
	switch t.Kind {
	case Int:
		return DecimalOf(10, 0)
	case Bigint:
		return DecimalOf(19, 0)
	}
	return t
}

// Common returns the type both a and b can be widened to without a cast.
func Common(a, b Type) (Type, bool) {
	switch {
	case a.Equal(b) || b.Kind == Null:
		return a, true
	case a.Kind == Null:
		return b, true
	case a.Numeric() && b.Numeric():
		return commonNumber(a, b), true
	case a.Kind == Array && b.Kind == Array:
		e, ok := Common(*a.Elem, *b.Elem)
		return ArrayOf(e), ok
	case a.Kind == Map && b.Kind == Map:
		k, ok := Common(*a.Key, *b.Key)
		v, ok2 := Common(*a.Elem, *b.Elem)
		return MapOf(k, v), ok && ok2
	case a.Kind == Struct && b.Kind == Struct:
		return commonStruct(a, b)
	}
	return Type{}, false
}

func commonNumber(a, b Type) Type {
	if a.Kind == Double || b.Kind == Double {
		return Type{Kind: Double}
	}
	if a.Kind != Decimal && b.Kind != Decimal {
		return Type{Kind: Bigint}
	}
	a, b = asDecimal(a), asDecimal(b)
	scale := max(a.Scale, b.Scale)
	return DecimalOf(max(a.Precision-a.Scale, b.Precision-b.Scale)+scale, scale)
}

func commonStruct(a, b Type) (Type, bool) {
	if len(a.Fields) != len(b.Fields) {
		return Type{}, false
	}
	out := Type{Kind: Struct}
	for i, f := range a.Fields {
		t, ok := Common(f.Type, b.Fields[i].Type)
		if !ok || f.Name != b.Fields[i].Name {
			return Type{}, false
		}
		out.Fields = append(out.Fields, Field{f.Name, t})
	}
	return out, true
}
