package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
)

var errBroken = errors.New("broken")

// loop runs Keep in a bubble and returns what it logged, as "level message n".
func loop(t *testing.T, f func(ctx context.Context, attempt int) error, opts KeepOptions) (lines []string, err error) {
	t.Helper()
	var out bytes.Buffer
	attempt := 0
	err = Keep(t.Context(), zerolog.New(&out), "test", func(ctx context.Context) error {
		attempt++
		return f(ctx, attempt)
	}, opts)
	for dec := json.NewDecoder(&out); dec.More(); {
		var line struct {
			Level, Message, Loop string
			Failures             int
		}
		if err := dec.Decode(&line); err != nil {
			t.Fatal(err)
		}
		if line.Loop != "test" {
			t.Errorf("a line does not name its loop: %+v", line)
		}
		lines = append(lines, fmt.Sprintf("%s %s %d", line.Level, line.Message, line.Failures))
	}
	return lines, err
}

const (
	failedLine    = "warn loop failed; it will be restarted"
	recoveredLine = "info loop recovered"
)

func TestKeepLogsTheFirstFailureThenOnePerIntervalThenRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := KeepOptions{BackOff: BackOff{Min: time.Second, Max: time.Second}, Interval: time.Hour}
		start := time.Now()
		failures := 0
		lines, err := loop(t, func(context.Context, int) error {
			if time.Since(start) > 90*time.Minute {
				return nil
			}
			failures++
			return errBroken
		}, opts)
		if err != nil {
			t.Errorf("got %v, want nil: the loop ended by itself", err)
		}
		if len(lines) != 3 {
			t.Fatalf("got %d lines, want 3: %q", len(lines), lines)
		}
		want := []string{failedLine + " 1", lines[1], recoveredLine + " " + fmt.Sprint(failures)}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
	})
}

func TestKeepRecoversWhileTheLoopRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines, err := loop(t, func(ctx context.Context, attempt int) error {
			switch attempt {
			case 1, 2:
				return errBroken
			case 3: // settles, then fails: a new first failure
				return errors.Join(sleep(ctx, time.Minute), errBroken)
			}
			return nil
		}, KeepOptions{Settled: 10 * time.Second})
		if err != nil {
			t.Error(err)
		}
		want := []string{failedLine + " 1", recoveredLine + " 2", failedLine + " 1", recoveredLine + " 1"}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
	})
}

func TestKeepPausesLongerEachTimeUntilItSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pauses []time.Duration
		var last time.Time
		_, _ = loop(t, func(ctx context.Context, attempt int) error {
			if attempt > 1 {
				pauses = append(pauses, time.Since(last))
			}
			defer func() { last = time.Now() }()
			switch attempt {
			case 5:
				return errors.Join(sleep(ctx, time.Hour), errBroken)
			case 6:
				return nil
			}
			return errBroken
		}, KeepOptions{BackOff: BackOff{Min: time.Second, Max: 4 * time.Second}})
		for i, full := range []time.Duration{1 * time.Second, 2 * time.Second, 4 * time.Second, 4 * time.Second} {
			if pauses[i] > full || pauses[i] < full/2 {
				t.Errorf("pause %d is %v, want %v to %v", i+1, pauses[i], full/2, full)
			}
		}
		if p := pauses[4]; p > time.Second {
			t.Errorf("the pause after an hour of health is %v, want at most 1s", p)
		}
	})
}

func TestKeepEndsAtAPermanentError(t *testing.T) {
	for name, permanent := range map[string]error{
		"marked":                    Permanent(errBroken),
		"marked deep in a chain":    fmt.Errorf("serve: %w", Permanent(errBroken)),
		"a wrong configuration":     WithExitCode(errBroken, ExitUsage),
		"a missing prerequisite":    WithExitCode(errBroken, ExitPrerequisite),
		"one of several, by itself": errors.Join(errors.New("other"), Permanent(errBroken)),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				attempts := 0
				_, err := loop(t, func(context.Context, int) error { attempts++; return permanent }, KeepOptions{})
				if !errors.Is(err, errBroken) || attempts != 1 {
					t.Errorf("got %v after %d attempts, want %v after 1", err, attempts, errBroken)
				}
			})
		})
	}
}

func TestKeepEndsQuietlyWhenCancelled(t *testing.T) {
	for name, f := range map[string]func(context.Context) error{
		"while the loop runs":    func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"while it pauses":        func(context.Context) error { return errBroken },
		"with a permanent error": func(ctx context.Context) error { <-ctx.Done(); return Permanent(errBroken) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				start := time.Now()
				err := Keep(ctx, zerolog.Nop(), "test", f, KeepOptions{BackOff: BackOff{Min: time.Hour, Max: time.Hour}})
				if err != nil || time.Since(start) != time.Minute {
					t.Errorf("got %v after %v, want nil after 1m", err, time.Since(start))
				}
			})
		})
	}
}

func TestKeepDoesNotBeginWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := Keep(ctx, zerolog.Nop(), "test", func(context.Context) error { t.Error("began"); return nil }, KeepOptions{})
	if err != nil {
		t.Error(err)
	}
}

func TestBackOffStaysInItsBounds(t *testing.T) {
	b := BackOff{Min: 100 * time.Millisecond, Max: time.Second}
	full := b.Min
	distinct := map[time.Duration]bool{}
	for range 200 {
		d := b.Next()
		if d < full/2 || d > full {
			t.Fatalf("pause %v, want %v to %v", d, full/2, full)
		}
		distinct[d] = true
		full = min(2*full, b.Max)
	}
	if len(distinct) < 100 {
		t.Errorf("%d different pauses of 200: no jitter", len(distinct))
	}
	b.Reset()
	if d := b.Next(); d > b.Min {
		t.Errorf("pause after Reset %v, want at most %v", d, b.Min)
	}
}

func TestZeroBackOffIsUsable(t *testing.T) {
	var b BackOff
	if d := b.Next(); d < DefaultBackOffMin/2 || d > DefaultBackOffMin {
		t.Errorf("first pause %v, want about %v", d, DefaultBackOffMin)
	}
}

func TestBackOffWaitEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errBroken)
		defer cancel()
		b := BackOff{Min: time.Hour, Max: time.Hour}
		if err := b.Wait(ctx); !errors.Is(err, errBroken) {
			t.Errorf("got %v, want the cause", err)
		}
	})
}
