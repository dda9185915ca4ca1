package settings

import (
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"
)

// Size is a number of bytes. It reads "32MiB", "4 GB", "1.5TiB" or a plain number,
// and prints the largest binary unit that divides it.
type Size uint64

// UnmarshalText parses.
func (s *Size) UnmarshalText(b []byte) error {
	v, err := humanize.ParseBytes(string(b))
	if err != nil {
		return fmt.Errorf("size %q: want a number and a unit, like 32MiB", b)
	}
	*s = Size(v)
	return nil
}

// String is what UnmarshalText reads, without loss.
func (s Size) String() string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i := 0
	for s != 0 && s%1024 == 0 && i < len(units)-1 {
		s /= 1024
		i++
	}
	return fmt.Sprintf("%d%s", uint64(s), units[i])
}

// Rate is a number of bytes per second: a Size, with or without "/s" after it.
type Rate uint64

// UnmarshalText parses.
func (r *Rate) UnmarshalText(b []byte) error {
	v, err := humanize.ParseBytes(strings.TrimSuffix(string(b), "/s"))
	if err != nil {
		return fmt.Errorf("rate %q: want a number, a unit and /s, like 50MiB/s", b)
	}
	*r = Rate(v)
	return nil
}

// String is what UnmarshalText reads, without loss.
func (r Rate) String() string { return Size(r).String() + "/s" }
