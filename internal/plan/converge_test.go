package plan_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// passes are durations; each moved 100 MiB a second.
func passes(tb testing.TB, s string) (out []messages.PassReport) {
	tb.Helper()
	for f := range strings.FieldsSeq(s) {
		d, err := time.ParseDuration(f)
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, messages.PassReport{Millis: d.Milliseconds(), Bytes: uint64(d.Milliseconds()) * 100 << 20 / 1000})
	}
	return out
}

func TestNext(t *testing.T) {
	const mib = 1 << 20
	p := plan.ConvergePolicy{MaxPasses: 4, Short: 10 * time.Second}
	assumed := p
	assumed.Rate = 50 * mib
	one := p
	one.MaxPasses = 1
	for _, tt := range []struct {
		name     string
		policy   plan.ConvergePolicy
		done     string
		estimate uint64
		reserved bool
		want     plan.Move
	}{
		{"nothing is known before the first pass", p, "", 0, false, plan.MovePass},
		{"nothing is measured and nothing assumed", p, "", mib, false, plan.MovePass},
		{"a first pass that is expected to be short", assumed, "", 400 * mib, false, plan.MoveReserveAndPass},
		{"a first pass that is expected to be long", assumed, "", 600 * mib, false, plan.MovePass},
		{"only one pass is allowed", one, "", 1 << 40, false, plan.MoveReserveAndPass},
		{"after the seed a long increment", p, "1h", 2000 * mib, false, plan.MovePass},
		{"after the seed a short increment, at the measured rate", assumed, "1h", 900 * mib, false, plan.MoveReserveAndPass},
		{"an unknown increment after a long pass", p, "1h", 0, false, plan.MovePass},
		{"an unknown increment after a short pass", p, "5s", 0, false, plan.MoveReserveAndPass},
		{"passes shrink no more", p, "60s 50s", 5000 * mib, false, plan.MoveReserveAndPass},
		{"passes shrink", p, "60s 40s", 5000 * mib, false, plan.MovePass},
		{"the last pass allowed", p, "1h 10m 1m", 5000 * mib, false, plan.MoveReserveAndPass},
		{"more passes than allowed, none reserved", p, "4h 2h 1h 20m 5m", 1 << 40, false, plan.MoveReserveAndPass},
		{"reserved before any pass", p, "", 0, true, plan.MovePass},
		{"a short reserved pass", p, "1h 8s", 0, true, plan.MoveSwitch},
		{"a reserved pass a little too long", p, "1h 35s", 0, true, plan.MoveSwitch},
		{"a reserved pass far too long", p, "1h 45s", 0, true, plan.MoveReserveAndPass},
		{"a reserved pass far too long, and no pass left", p, "1h 10m 1m 45s", 0, true, plan.MoveSwitch},
		{"a reserved pass with nothing to move", p, "0s", 0, true, plan.MoveSwitch},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := plan.Next(tt.policy, passes(t, tt.done), tt.estimate, tt.reserved); got != tt.want {
				t.Errorf("Next = %s, want %s", got, tt.want)
			}
		})
	}
}

// However passes turn out, a resync comes to its switch, through a reserved pass,
// within the number of passes allowed and one more.
func TestNextAlwaysEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := plan.ConvergePolicy{
			MaxPasses: rapid.IntRange(-1, 30).Draw(t, "max"), Short: time.Duration(rapid.IntRange(0, 60).Draw(t, "short")) * time.Second,
			Rate: rapid.Uint64Range(0, 1<<30).Draw(t, "rate"),
		}
		var done []messages.PassReport
		reserved := false
		for range plan.MaxPasses + 2 {
			switch plan.Next(p, done, rapid.Uint64Range(0, 1<<45).Draw(t, "estimate"), reserved) {
			case plan.MoveSwitch:
				if !reserved || len(done) == 0 {
					t.Fatal("a switch without a reserved pass: its WAL is not sure")
				}
				if len(done) > max(1, p.MaxPasses) {
					t.Fatalf("%d passes, %d allowed", len(done), p.MaxPasses)
				}
				return
			case plan.MoveReserveAndPass:
				reserved = true
			case plan.MovePass:
				reserved = false
			}
			done = append(done, messages.PassReport{Bytes: rapid.Uint64().Draw(t, "bytes"), Millis: rapid.Int64Range(0, 1<<32).Draw(t, "ms")})
		}
		t.Fatal("it never ends")
	})
}
