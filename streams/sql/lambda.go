package sql

import (
	"errors"
	"fmt"

	"github.com/tidemill/tidemill/connect"
	"github.com/tidemill/tidemill/streams/sql/functions"
)

// lambdaScope resolves the parameters of a lambda, and through them the columns
// around it. The lambda's rows, its frames, are the parameters and then whatever
// it takes from around.
type lambdaScope struct {
	params []name
	types  []functions.Type
	outer  resolver // nil when there are no columns
	taken  []compiled
}

// column implements resolver.
func (l *lambdaScope) column(ref *columnRef) (compiled, error) {
	for i, p := range l.params {
		if ref.source.text == "" && p.text == ref.name.text {
			return slotOf(l.types[i], i), nil
		}
	}
	if l.outer == nil {
		return compiled{}, &Error{Code: "sql.no_columns", Message: "the lambda has no parameter " + ref.name.text}
	}
	c, err := l.outer.column(ref)
	if err != nil {
		return c, err
	}
	return l.take(c), nil
}

// replace implements resolver.
func (l *lambdaScope) replace(e expr) (compiled, bool, error) {
	if l.outer == nil {
		return compiled{}, false, nil
	}
	c, ok, err := l.outer.replace(e)
	if ok {
		c = l.take(c)
	}
	return c, ok, err
}

// take adds a value from around to the frame.
func (l *lambdaScope) take(c compiled) compiled {
	l.taken = append(l.taken, c)
	return slotOf(c.typ, len(l.params)+len(l.taken)-1)
}

// compiledLambda is a lambda with its frame.
type compiledLambda struct {
	body  compiled
	scope *lambdaScope
}

// lambda compiles an argument that is a lambda over parameters of the given types.
func (a *analyzer) lambda(e expr, types ...functions.Type) (*compiledLambda, error) {
	l, ok := e.(*lambda)
	if !ok || len(l.params) != len(types) {
		return nil, a.fault(e, "sql.type", fmt.Sprintf("a lambda of %d parameters is needed here", len(types)), "write (x, …) => expression")
	}
	scope := &lambdaScope{params: l.params, types: types, outer: a.scope}
	inner := *a
	inner.scope = scope
	body, err := inner.compile(l.body)
	return &compiledLambda{body: body, scope: scope}, err
}

// frame runs a lambda for one goroutine.
type frame struct {
	body   eval
	taken  []eval
	params int
	values []connect.Value
}

func (l *compiledLambda) make(told teller) (*frame, error) {
	body, err := l.body.make(told)
	if err != nil {
		return nil, err
	}
	taken, err := makeAll(l.scope.taken, told)
	n := len(l.scope.params)
	return &frame{body: body, taken: taken, params: n, values: make([]connect.Value, n+len(taken))}, err
}

// enter takes what the lambda needs from around, once for each row.
func (f *frame) enter(row []connect.Value) error {
	for i, t := range f.taken {
		var err error
		if f.values[f.params+i], err = t(row); err != nil {
			return err
		}
	}
	return nil
}

// call evaluates the lambda.
func (f *frame) call(args ...connect.Value) (connect.Value, error) {
	copy(f.values, args)
	return f.body(f.values)
}

// higher compiles FILTER, TRANSFORM and REDUCE.
func (a *analyzer) higher(e *call) (compiled, error) {
	want := map[string][2]int{"FILTER": {2, 2}, "TRANSFORM": {2, 3}, "REDUCE": {3, 3}}[e.name.text]
	if len(e.args) < want[0] || len(e.args) > want[1] {
		return compiled{}, a.fault(e, "sql.type", e.name.text+" takes a collection and lambdas", "DESCRIBE FUNCTION "+e.name.text)
	}
	x, err := a.compile(e.args[0])
	if err != nil {
		return x, err
	}
	var params []functions.Type
	switch x.typ.Kind {
	case functions.Array:
		params = []functions.Type{*x.typ.Elem}
	case functions.Map:
		params = []functions.Type{*x.typ.Key, *x.typ.Elem}
	default:
		return x, a.fault(e.args[0], "sql.type", fmt.Sprintf("%s takes an array or a map, not %s", e.name.text, x.typ), "")
	}
	switch e.name.text {
	case "FILTER":
		return a.filter(e, x, params)
	case "REDUCE":
		return a.reduce(e, x, params)
	}
	return a.transform(e, x, params)
}

// each visits the elements of an array or the entries of a map, each as the
// arguments of a lambda.
func each(v connect.Value, visit func(args ...connect.Value) error) error {
	switch v.Kind() {
	case connect.KindNull:
		return nil
	case connect.KindMap:
		for _, m := range v.Map() {
			if err := visit(m.Key, m.Value); err != nil {
				return err
			}
		}
		return nil
	}
	for _, x := range v.Array() {
		if err := visit(x); err != nil {
			return err
		}
	}
	return nil
}

// over makes an expression of a collection, null perhaps, and lambdas.
func over(t functions.Type, x compiled, lambdas []*compiledLambda, run func(v connect.Value, frames []*frame) (connect.Value, error)) compiled {
	return compiled{typ: t, make: func(told teller) (eval, error) {
		ex, err := x.make(told)
		if err != nil {
			return nil, err
		}
		frames := make([]*frame, len(lambdas))
		for i, l := range lambdas {
			if frames[i], err = l.make(told); err != nil {
				return nil, err
			}
		}
		return func(row []connect.Value) (connect.Value, error) {
			v, err := ex(row)
			if err != nil {
				return null, err
			}
			for _, f := range frames {
				if err := f.enter(row); err != nil {
					return null, err
				}
			}
			out, err := run(v, frames)
			if err != nil {
				return null, err
			}
			return out, nil
		}, nil
	}}
}

func (a *analyzer) filter(e *call, x compiled, params []functions.Type) (compiled, error) {
	l, err := a.lambda(e.args[1], params...)
	if err != nil {
		return x, err
	}
	if l.body, err = a.boolean(e.args[1], l.body); err != nil {
		return x, err
	}
	return over(x.typ, x, []*compiledLambda{l}, func(v connect.Value, frames []*frame) (connect.Value, error) {
		if v.IsNull() {
			return v, nil
		}
		var elems []connect.Value
		var entries []connect.MapEntry
		err := each(v, func(args ...connect.Value) error {
			keep, err := frames[0].call(args...)
			if err != nil || keep.IsNull() || !keep.Bool() {
				return err
			}
			if len(args) > 1 {
				entries = append(entries, connect.MapEntry{Key: args[0], Value: args[1]})
			} else {
				elems = append(elems, args[0])
			}
			return nil
		})
		if v.Kind() == connect.KindMap {
			return connect.Map(entries), err
		}
		return connect.Array(elems), err
	}), nil
}

func (a *analyzer) transform(e *call, x compiled, params []functions.Type) (compiled, error) {
	if len(e.args) != 1+len(params) {
		return x, a.fault(e, "sql.type", fmt.Sprintf("TRANSFORM of %s takes %d lambdas", x.typ.Kind, len(params)), "")
	}
	lambdas := make([]*compiledLambda, len(params))
	for i := range lambdas {
		var err error
		if lambdas[i], err = a.lambda(e.args[1+i], params...); err != nil {
			return x, err
		}
	}
	t := functions.ArrayOf(lambdas[0].body.typ)
	if len(params) > 1 {
		t = functions.MapOf(lambdas[0].body.typ, lambdas[1].body.typ)
	}
	return over(t, x, lambdas, func(v connect.Value, frames []*frame) (connect.Value, error) {
		if v.IsNull() {
			return v, nil
		}
		out := make([]connect.Value, 0, v.Len()*len(frames))
		err := each(v, func(args ...connect.Value) error {
			for _, f := range frames {
				r, err := f.call(args...)
				if err != nil {
					return err
				}
				out = append(out, r)
			}
			return nil
		})
		if len(frames) == 1 {
			return connect.Array(out), err
		}
		entries := make([]connect.MapEntry, 0, len(out)/2)
		for i := 0; i+1 < len(out) && err == nil; i += 2 {
			entries, err = functions.Put(entries, out[i], out[i+1])
			if len(entries) <= i/2 && err == nil {
				err = errors.New("TRANSFORM gives two entries of the map the same key")
			}
		}
		return connect.Map(entries), err
	}), nil
}

func (a *analyzer) reduce(e *call, x compiled, params []functions.Type) (compiled, error) {
	start, err := a.compile(e.args[1])
	if err != nil {
		return x, err
	}
	l, err := a.lambda(e.args[2], append([]functions.Type{start.typ}, params...)...)
	if err != nil {
		return x, err
	}
	if wider, ok := functions.Common(start.typ, l.body.typ); ok && !wider.Equal(start.typ) {
		// A start such as 0 is an INTEGER, and the sum may be more.
		if start, err = converted(start, wider); err != nil {
			return x, a.typeFault(e.args[1], err)
		}
		if l, err = a.lambda(e.args[2], append([]functions.Type{wider}, params...)...); err != nil {
			return x, err
		}
	}
	if l.body, err = converted(l.body, start.typ); err != nil {
		return x, a.typeFault(e.args[2], err)
	}
	l.scope.taken = append(l.scope.taken, start)
	return over(start.typ, x, []*compiledLambda{l}, func(v connect.Value, frames []*frame) (connect.Value, error) {
		f := frames[0]
		state := f.values[len(f.values)-1]
		if state.IsNull() {
			return state, nil
		}
		err := each(v, func(args ...connect.Value) error {
			next, err := f.call(append([]connect.Value{state}, args...)...)
			state = next
			return err
		})
		return state, err
	}), nil
}
