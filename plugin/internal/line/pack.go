package line

import (
	"encoding/json"
	"fmt"
)

// Pack writes a message as JSON. What cannot be written is a fault of the program.
func Pack(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("plugin: a message cannot be written: " + err.Error())
	}
	return text
}

// Unpack reads what Pack wrote.
func Unpack[T any](body []byte) (T, error) {
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		return v, fmt.Errorf("a message of the other end cannot be read: %w", err)
	}
	return v, nil
}
