package bus

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"time"
)

// The keys of an endpoint's metadata. Micro services have no field for schemas any
// more (nats-architecture-and-design ADR-32); they are metadata by convention.
const (
	metaRequest = "request_schema"
	metaReply   = "response_schema"
)

func (e *endpoint) metadata() map[string]string {
	return map[string]string{metaRequest: schema(e.request), metaReply: schema(e.reply)}
}

// schema is a JSON Schema of the documents of doc's type, for people and for
// generators; what is refused beyond it is Validate's business.
func schema(doc any) string {
	s := schemaOf(reflect.TypeOf(doc))
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	b, err := json.Marshal(s)
	if err != nil {
		return "{}" // a map of strings and maps is always encodable
	}
	return string(b)
}

func schemaOf(t reflect.Type) map[string]any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return map[string]any{"type": "string"}
	}
	switch t.Kind() { //nolint:exhaustive // documents have no other kinds
	case reflect.Struct:
		return structSchema(t)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return map[string]any{"type": "string", "contentEncoding": "base64"}
		}
		return map[string]any{"type": "array", "items": schemaOf(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	}
	return map[string]any{"type": "integer"}
}

func structSchema(t reflect.Type) map[string]any {
	fields, needed := map[string]any{}, []string{}
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous:
			continue // no document of a service has one
		case strings.Contains(options, "string"):
			fields[name] = map[string]any{"type": "string"} // 64 bits do not fit a JSON number
		default:
			fields[name] = schemaOf(f.Type)
		}
		if !strings.Contains(options, "omit") {
			needed = append(needed, name)
		}
	}
	out := map[string]any{"type": "object", "properties": fields, "additionalProperties": false}
	if len(needed) > 0 {
		out["required"] = needed
	}
	return out
}
