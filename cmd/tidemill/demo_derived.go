package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// follow prints the changes of the derived table as a push query gives them, until
// ctx is done.
func (d *demo) follow(ctx context.Context, print func(key, what string)) error {
	body := map[string]any{
		"ksql":              "SELECT * FROM ORDERS_BY_CUSTOMER EMIT CHANGES;",
		"streamsProperties": map[string]string{"auto.offset.reset": "latest"},
	}
	resp, err := d.client.send(ctx, http.MethodPost, "/query", body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	last := map[string][]any{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		columns := pushedRow(lines.Text())
		if len(columns) != 3 {
			continue
		}
		key := number(columns[0])
		if what := described(last[key], columns); what != "" {
			print(key, what)
		}
		last[key] = columns
	}
	if ctx.Err() != nil {
		return nil
	}
	return lines.Err()
}

// pushedRow reads one line of a push query's answer; nil when it holds no row.
func pushedRow(line string) []any {
	var message struct{ Row struct{ Columns []any } }
	line = strings.TrimRight(strings.TrimLeft(line, "["), ",]") + "}"
	for range 3 { // The closing braces that were part of what was trimmed.
		if json.Unmarshal([]byte(line), &message) == nil {
			return message.Row.Columns
		}
		line = strings.TrimSuffix(line, "}")
	}
	return nil
}

// described says what became different in a row of customer, orders and pieces.
func described(was, now []any) string {
	var parts []string
	for i, name := range []string{"orders", "pieces"} {
		switch text := number(now[i+1]); {
		case was == nil:
			parts = append(parts, name+"="+text)
		case number(was[i+1]) != text:
			parts = append(parts, fmt.Sprintf("%s %s → %s", name, number(was[i+1]), text))
		}
	}
	return strings.Join(parts, " ")
}
