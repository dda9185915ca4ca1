package settings

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/kelseyhightower/envconfig"
)

// Prefix begins the name of every variable, followed by '_'.
const Prefix = "PGRESYNC"

// Field is one variable of a configuration struct.
type Field struct {
	// Key is the variable's name.
	Key string
	// Default is the default tag, Computed says in words how it is found instead.
	Default, Computed string
	// Desc is one sentence.
	Desc   string
	Needed bool
	// OneOf are the allowed values; nil: no such list.
	OneOf []string
	// Min and Max are bounds in the variable's own notation, "" for none.
	Min, Max string

	value     reflect.Value
	low, high reflect.Value // Min and Max parsed; invalid when there are none
}

// Fields lists the variables of the struct that spec points to, in its order.
func Fields(spec any) ([]Field, error) {
	// The names are asked of envconfig itself, which alone knows its word splitting.
	var names strings.Builder
	if err := envconfig.Usagef(Prefix, spec, &names, "{{range .}}{{.Key}}\n{{end}}"); err != nil {
		return nil, fmt.Errorf("list the variables of %T: %w", spec, err)
	}
	keys := strings.Fields(names.String())
	fields := leaves(nil, reflect.ValueOf(spec).Elem())
	if len(keys) != len(fields) {
		return nil, fmt.Errorf("list the variables of %T: %d names for %d fields", spec, len(keys), len(fields))
	}
	for i := range fields {
		fields[i].Key = keys[i]
		if err := fields[i].parseBounds(); err != nil {
			return nil, fmt.Errorf("bounds of %s: %w", keys[i], err)
		}
	}
	return fields, nil
}

func leaves(out []Field, s reflect.Value) []Field {
	for i := range s.NumField() {
		v, tag := s.Field(i), s.Type().Field(i).Tag
		if _, text := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr()); v.Kind() == reflect.Struct && !text {
			out = leaves(out, v)
			continue
		}
		f := Field{
			Default: tag.Get("default"), Computed: tag.Get("computed"), Desc: tag.Get("desc"),
			Needed: tag.Get("needed") == "true", Min: tag.Get("min"), Max: tag.Get("max"), value: v,
		}
		if one := tag.Get("oneof"); one != "" {
			f.OneOf = strings.Fields(one)
		}
		out = append(out, f)
	}
	return out
}

func (f *Field) parseBounds() (err error) {
	if f.low, err = parseLike(f.value, f.Min); err != nil {
		return err
	}
	f.high, err = parseLike(f.value, f.Max)
	return err
}

// parseLike reads text as a value of v's type; empty text is the invalid Value.
func parseLike(v reflect.Value, text string) (reflect.Value, error) {
	if text == "" {
		return reflect.Value{}, nil
	}
	out := reflect.New(v.Type())
	var err error
	switch p := out.Interface().(type) {
	case encoding.TextUnmarshaler:
		err = p.UnmarshalText([]byte(text))
	case *time.Duration:
		*p, err = time.ParseDuration(text)
	case *int:
		*p, err = strconv.Atoi(text)
	default:
		err = fmt.Errorf("a %s has no bounds", v.Type())
	}
	return out.Elem(), err
}

// Text is the field's value as check-config shows it: in the notation that the
// variable takes, secrets masked.
func (f Field) Text() string {
	if f.value.Kind() == reflect.Slice || f.value.Kind() == reflect.Map {
		if f.value.Len() == 0 {
			return ""
		}
	}
	if d, ok := reflect.TypeAssert[time.Duration](f.value); ok {
		return formatDuration(d)
	}
	return fmt.Sprint(f.value.Interface())
}

// formatDuration is 1h where time.Duration says 1h0m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
