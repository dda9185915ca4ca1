package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// SettingsPolicy says what becomes of parameters that are lower on a standby than
// on its primary, with which PostgreSQL would not start; the zero value is
// SettingsRaise.
type SettingsPolicy string

// The policies.
const (
	SettingsRaise  SettingsPolicy = "raise"
	SettingsRefuse SettingsPolicy = "refuse"
)

// TooLow are the parameters that a copy with have would start with, below what the
// primary says in need, with the primary's value (PostgreSQL 15, hot-standby
// 27.4.3). One that is not in have is not known, and is left to PostgreSQL.
func TooLow(have, need map[string]int) map[string]int {
	low := map[string]int{}
	for name, want := range need {
		if v, ok := have[name]; ok && v < want {
			low[name] = want
		}
	}
	return low
}

// Shortfall puts them into words.
func Shortfall(have, low map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(low)) {
		parts = append(parts, fmt.Sprintf("%s is %d, the primary has %d", name, have[name], low[name]))
	}
	return strings.Join(parts, "; ")
}
