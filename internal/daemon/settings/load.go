package settings

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/kelseyhightower/envconfig"
)

// Load fills the struct that spec points to from the environment of the process,
// with the defaults of its tags. Its error joins every complaint, each naming its
// variable: values that do not parse or lie outside their bounds, what is needed
// and missing, and variables that nobody knows.
//
// It removes variables of ours that are empty or do not parse from the
// environment: envconfig lets an empty one override the default, and stops at the
// first bad one. To be called once, before other goroutines read the environment.
func Load(spec any) error {
	fields, err := Fields(spec)
	if err != nil {
		return err
	}
	unsetEmpty()
	complaints := unknown(fields)
	bad, err := process(spec)
	if err != nil {
		return err
	}
	for key, complaint := range bad {
		complaints = append(complaints, complaint)
		fields = slices.DeleteFunc(fields, func(f Field) bool { return f.Key == key })
	}
	for _, f := range fields {
		if err := f.check(); err != nil {
			complaints = append(complaints, err)
		}
	}
	slices.SortFunc(complaints, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(complaints...)
}

// process lets envconfig run until no variable is left that it cannot read.
func process(spec any) (map[string]error, error) {
	bad := map[string]error{}
	for {
		err := envconfig.Process(Prefix, spec)
		if err == nil {
			return bad, nil
		}
		parse, ok := errors.AsType[*envconfig.ParseError](err)
		if _, seen := bad[keyOf(parse)]; !ok || seen {
			return nil, fmt.Errorf("read the environment into %T: %w", spec, err)
		}
		bad[parse.KeyName] = fmt.Errorf("%s: %w", parse.KeyName, parse.Err)
		if err := os.Unsetenv(parse.KeyName); err != nil {
			return nil, fmt.Errorf("unset %s: %w", parse.KeyName, err)
		}
	}
}

func keyOf(e *envconfig.ParseError) string {
	if e == nil {
		return ""
	}
	return e.KeyName
}

func unsetEmpty() {
	for _, key := range setKeys() {
		if os.Getenv(key) == "" {
			_ = os.Unsetenv(key) // fails for impossible names only
		}
	}
}

// setKeys lists the variables with our prefix.
func setKeys() []string {
	var keys []string
	for _, env := range os.Environ() {
		if key, _, _ := strings.Cut(env, "="); strings.HasPrefix(key, Prefix+"_") {
			keys = append(keys, key)
		}
	}
	return keys
}

func (f Field) check() error {
	switch {
	case f.value.IsZero() && f.Needed:
		return fmt.Errorf("%s: needed, and not set (%s)", f.Key, f.Desc)
	case f.OneOf != nil && !slices.Contains(f.OneOf, f.Text()):
		return fmt.Errorf("%s: %q: want one of %s", f.Key, f.Text(), strings.Join(f.OneOf, ", "))
	case f.low.IsValid() && less(f.value, f.low):
		return fmt.Errorf("%s: %s: want at least %s", f.Key, f.Text(), f.Min)
	case f.high.IsValid() && less(f.high, f.value):
		return fmt.Errorf("%s: %s: want at most %s", f.Key, f.Text(), f.Max)
	}
	return nil
}

func less(a, b reflect.Value) bool {
	if a.CanUint() {
		return a.Uint() < b.Uint()
	}
	return a.Int() < b.Int()
}
