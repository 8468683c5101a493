package sql

import (
	"fmt"
	"strings"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// common compiles several expressions and brings them to one type.
func (a *analyzer) common(list []expr) ([]compiled, functions.Type, error) {
	out := make([]compiled, len(list))
	t := functions.Type{Kind: functions.Null}
	for i, e := range list {
		c, err := a.compile(e)
		if err != nil {
			return nil, t, err
		}
		wider, ok := functions.Common(t, c.typ)
		if !ok {
			return nil, t, a.fault(e, "sql.type", fmt.Sprintf("this is %s where the others are %s", c.typ, t), "use CAST")
		}
		out[i], t = c, wider
	}
	for i := range out {
		var err error
		if out[i], err = converted(out[i], t); err != nil {
			return nil, t, a.typeFault(list[i], err)
		}
	}
	return out, t, nil
}

func (a *analyzer) caseExpr(e *caseExpr) (compiled, error) {
	conds := make([]compiled, len(e.whens))
	results := make([]expr, len(e.whens))
	for i, w := range e.whens {
		cond := w.cond
		if e.operand != nil {
			cond = &binary{span: span{w.cond.place().pos, w.cond.place().end}, op: "=", l: e.operand, r: w.cond}
		}
		c, err := a.compile(cond)
		if err != nil {
			return c, err
		}
		if conds[i], err = a.boolean(w.cond, c); err != nil {
			return c, err
		}
		results[i] = w.then
	}
	if e.orElse != nil {
		results = append(results, e.orElse)
	}
	values, t, err := a.common(results)
	if err != nil {
		return compiled{}, err
	}
	return compiled{typ: t, make: func(told teller) (eval, error) {
		tests, err := makeAll(conds, told)
		if err != nil {
			return nil, err
		}
		then, err := makeAll(values, told)
		return choose(tests, then), err
	}}, nil
}

// choose gives the value of the first test that holds, or of what is left.
func choose(tests, then []eval) eval {
	return func(row []connect.Value) (connect.Value, error) {
		for i, t := range tests {
			v, err := t(row)
			if err != nil {
				return null, err
			}
			if !v.IsNull() && v.Bool() {
				return then[i](row)
			}
		}
		if len(then) > len(tests) {
			return then[len(tests)](row)
		}
		return null, nil
	}
}

// gathered makes an expression of several parts that build puts together.
func gathered(t functions.Type, parts []compiled, build func(values []connect.Value) (connect.Value, error)) compiled {
	out := compiled{typ: t, make: func(told teller) (eval, error) {
		evals, err := makeAll(parts, told)
		return func(row []connect.Value) (connect.Value, error) {
			values := make([]connect.Value, len(evals))
			for i, e := range evals {
				var err error
				if values[i], err = e(row); err != nil {
					return null, err
				}
			}
			return build(values)
		}, err
	}}
	return folded(out, parts...)
}

func (a *analyzer) array(e *arrayExpr) (compiled, error) {
	items, t, err := a.common(e.items)
	if err != nil {
		return compiled{}, err
	}
	if t.Kind == functions.Null {
		return compiled{}, a.fault(e, "sql.type", "the type of this array cannot be told", "cast one of its elements, as in ARRAY[CAST(NULL AS INT)]")
	}
	return gathered(functions.ArrayOf(t), items, func(all []connect.Value) (connect.Value, error) { return connect.Array(all), nil }), nil
}

func (a *analyzer) mapValue(e *mapExpr) (compiled, error) {
	keys, kt, err := a.common(e.keys)
	if err != nil {
		return compiled{}, err
	}
	values, vt, err := a.common(e.values)
	if err != nil {
		return compiled{}, err
	}
	if kt.Kind == functions.Null || vt.Kind == functions.Null {
		return compiled{}, a.fault(e, "sql.type", "the type of this map cannot be told", "cast one of its keys and values")
	}
	n := len(keys)
	return gathered(functions.MapOf(kt, vt), append(keys, values...), func(all []connect.Value) (connect.Value, error) {
		out := make([]connect.MapEntry, 0, n)
		for i := range n {
			var err error
			if out, err = functions.Put(out, all[i], all[n+i]); err != nil {
				return null, err
			}
		}
		return connect.Map(out), nil
	}), nil
}

func (a *analyzer) structValue(e *structExpr) (compiled, error) {
	t := functions.Type{Kind: functions.Struct}
	parts := make([]compiled, len(e.values))
	for i, v := range e.values {
		c, err := a.compile(v)
		if err != nil {
			return c, err
		}
		if c.typ.Kind == functions.Null {
			return c, a.fault(v, "sql.type", "the type of this field cannot be told", "write CAST(NULL AS …)")
		}
		parts[i] = c
		t.Fields = append(t.Fields, functions.Field{Name: e.names[i].text, Type: c.typ})
	}
	schema, err := t.Schema()
	if err != nil {
		return compiled{}, a.typeFault(e, err)
	}
	return gathered(t, parts, func(values []connect.Value) (connect.Value, error) {
		return connect.StructValue(schema.StructOf(values)), nil
	}), nil
}

func (a *analyzer) subscript(e *subscript) (compiled, error) {
	x, err := a.compile(e.x)
	if err != nil {
		return x, err
	}
	i, err := a.compile(e.index)
	if err != nil {
		return i, err
	}
	switch x.typ.Kind {
	case functions.Array:
		if i.typ.Kind != functions.Int && i.typ.Kind != functions.Bigint {
			return x, a.fault(e.index, "sql.type", fmt.Sprintf("an array is indexed by a whole number, not %s", i.typ), "")
		}
		return node2(*x.typ.Elem, x, i, elementAt), nil
	case functions.Map:
		if i, err = converted(i, *x.typ.Key); err != nil {
			return x, a.typeFault(e.index, err)
		}
		return node2(*x.typ.Elem, x, i, valueAt), nil
	}
	return x, a.fault(e, "sql.type", fmt.Sprintf("%s has no elements", x.typ), "")
}

func (a *analyzer) deref(e *deref) (compiled, error) {
	x, err := a.compile(e.x)
	if err != nil {
		return x, err
	}
	if x.typ.Kind != functions.Struct {
		return x, a.fault(e, "sql.type", fmt.Sprintf("%s has no fields", x.typ), "")
	}
	names := make([]string, len(x.typ.Fields))
	for i, f := range x.typ.Fields {
		if f.Name == e.field.text {
			return node1(f.Type, x, fieldAt(i)), nil
		}
		names[i] = f.Name
	}
	return x, a.fault(e.field, "sql.unknown_field", "the struct has no field "+e.field.text, didYouMean(e.field.text, names))
}

// unitOf reads an argument that names a unit of time, as in DATEADD(DAYS, …).
func unitOf(f *functions.Function, arg expr, i int) (compiled, bool) {
	ref, ok := arg.(*columnRef)
	if !ok || i >= len(f.Variants[0].Params) || f.Variants[0].Params[i].Kind != functions.Interval {
		return compiled{}, false
	}
	for _, u := range units {
		if strings.TrimSuffix(ref.name.text, "S") == u {
			return constantOf(scalar(functions.Interval), connect.String(ref.name.text)), true
		}
	}
	return compiled{}, false
}

func (a *analyzer) call(e *call) (compiled, error) {
	f, ok := a.functions().Lookup(e.name.text)
	if !ok {
		if _, aggregate := a.functions().LookupAggregate(e.name.text); aggregate {
			return compiled{}, a.fault(e, "sql.misplaced_aggregate", e.name.text+" gathers rows and cannot stand here", "aggregates stand in the SELECT list or HAVING of a query with GROUP BY")
		}
		return compiled{}, a.fault(e.name, "sql.unknown_function", "there is no function "+e.name.text, didYouMean(e.name.text, a.functions().Names()))
	}
	if f.Category == functions.Table {
		return compiled{}, a.fault(e, "sql.bad_clause", e.name.text+" makes rows and stands in the SELECT list, outside of other table functions", "compute with its column in another query")
	}
	if f.Category == functions.HigherOrder {
		return a.higher(e)
	}
	return a.bound(e, f)
}

// bound compiles a call of a function that takes values.
func (a *analyzer) bound(e *call, f *functions.Function) (compiled, error) {
	args := make([]compiled, len(e.args))
	types := make([]functions.Type, len(e.args))
	for i, arg := range e.args {
		c, ok := unitOf(f, arg, i)
		if !ok {
			var err error
			if c, err = a.compile(arg); err != nil {
				return c, err
			}
		}
		args[i], types[i] = c, c.typ
	}
	if e.star {
		return compiled{}, a.fault(e, "sql.type", e.name.text+" does not take *", "")
	}
	bound, err := f.Bind(types)
	if err != nil {
		return compiled{}, a.typeFault(e, err)
	}
	for i := range args {
		if args[i], err = converted(args[i], bound.Params[i]); err != nil {
			return compiled{}, a.typeFault(e.args[i], err)
		}
	}
	return callOf(bound, args), nil
}
