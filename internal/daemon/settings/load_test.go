package settings

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/daemon"
)

// sample has each kind of field.
type sample struct {
	Name   string        `needed:"true" desc:"A name."`
	Count  int           `default:"3" min:"1" max:"9" desc:"A count."`
	Pause  time.Duration `default:"1m" min:"1s" desc:"A pause."`
	Mode   string        `default:"slow" oneof:"slow fast" desc:"A mode."`
	Part   Size          `default:"1MiB" min:"1KiB" max:"1GiB" desc:"A size."`
	TwoBig Size          `split_words:"true" desc:"Two words."`
	Keep   Words         `desc:"A list."`
	Group  struct {
		Secret daemon.Secret `desc:"A secret."`
	}
}

// onlyThese sets the variables with our prefix and removes all others of the kind.
func onlyThese(t *testing.T, vars map[string]string) {
	t.Helper()
	for _, key := range setKeys() {
		t.Setenv(key, "") // registers the restoration
		if err := os.Unsetenv(key); err != nil {
			t.Fatal(err)
		}
	}
	for key, value := range vars {
		t.Setenv(key, value)
	}
}

func TestLoad(t *testing.T) {
	for _, c := range []struct {
		name string
		vars map[string]string
		want sample
		errs []string
	}{
		{
			name: "defaults",
			vars: map[string]string{"PGRESYNC_NAME": "x"},
			want: sample{Name: "x", Count: 3, Pause: time.Minute, Mode: "slow", Part: 1 << 20},
		},
		{
			name: "empty is unset",
			vars: map[string]string{"PGRESYNC_NAME": "x", "PGRESYNC_COUNT": "", "PGRESYNC_MODE": ""},
			want: sample{Name: "x", Count: 3, Pause: time.Minute, Mode: "slow", Part: 1 << 20},
		},
		{
			name: "an empty variable does not satisfy a need",
			vars: map[string]string{"PGRESYNC_NAME": ""},
			errs: []string{"PGRESYNC_NAME: needed"},
		},
		{
			name: "an unprefixed variable is not ours",
			vars: map[string]string{"NAME": "y", "PGRESYNC_NAME": "x", "COUNT": "8"},
			want: sample{Name: "x", Count: 3, Pause: time.Minute, Mode: "slow", Part: 1 << 20},
		},
		{
			name: "all complaints, sorted",
			vars: map[string]string{
				"PGRESYNC_COUNT": "10", "PGRESYNC_PAUSE": "soon", "PGRESYNC_MODE": "Fast", "PGRESYNC_PART": "2GiB",
				"PGRESYNC_TWO_BIG": "x", "PGRESYNC_TWO_BGI": "1", "PGRESYNC_GROUP_SECRETT": "hunter2",
			},
			errs: []string{
				"PGRESYNC_COUNT: 10: want at most 9",
				"PGRESYNC_GROUP_SECRETT: there is no such variable; did you mean PGRESYNC_GROUP_SECRET?",
				`PGRESYNC_MODE: "Fast": want one of slow, fast`,
				"PGRESYNC_NAME: needed",
				"PGRESYNC_PART: 2GiB: want at most 1GiB",
				"PGRESYNC_PAUSE: time: invalid duration",
				"PGRESYNC_TWO_BGI: there is no such variable; did you mean PGRESYNC_TWO_BIG?",
				`PGRESYNC_TWO_BIG: size "x"`,
			},
		},
		{
			name: "below a bound",
			vars: map[string]string{"PGRESYNC_NAME": "x", "PGRESYNC_PAUSE": "-5s", "PGRESYNC_PART": "1B"},
			errs: []string{"PGRESYNC_PART: 1B: want at least 1KiB", "PGRESYNC_PAUSE: -5s: want at least 1s"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			onlyThese(t, c.vars)
			var got sample
			err := Load(&got)
			if c.errs == nil {
				if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
					t.Errorf("%v (-want +got):\n%s", err, diff)
				}
				return
			}
			if err == nil {
				t.Fatal("want an error")
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(c.errs) {
				t.Fatalf("got %d complaints, want %d:\n%v", len(lines), len(c.errs), err)
			}
			for i, want := range c.errs {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("complaint %d: got %q, want %q", i, lines[i], want)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the value of an unknown variable shows; it may be a secret")
			}
		})
	}
}

func TestFieldsRefuseABoundThatDoesNotParse(t *testing.T) {
	var spec struct {
		Count int `min:"one"`
	}
	if _, err := Fields(&spec); err == nil || !strings.Contains(err.Error(), "PGRESYNC_COUNT") {
		t.Errorf("got %v, want an error that names the variable", err)
	}
}

func TestDescriptions(t *testing.T) {
	spec := sample{Name: "a b", Count: 3, Keep: Words{"x", "y"}}
	spec.Group.Secret = "hunter2"
	text, err := Effective(&spec)
	if err != nil {
		t.Fatal(err)
	}
	want := `PGRESYNC_NAME="a b"
PGRESYNC_COUNT=3
PGRESYNC_PAUSE=0s
# PGRESYNC_MODE is not set
PGRESYNC_PART=0B
PGRESYNC_TWO_BIG=0B
PGRESYNC_KEEP=x,y
PGRESYNC_GROUP_SECRET="***"
`
	if diff := cmp.Diff(want, text); diff != "" {
		t.Errorf("Effective (-want +got):\n%s", diff)
	}
	page, err := ReplaceTable("a\n<!-- begin x: generated from the code -->\nold\n<!-- end x -->\nb\n", "x", &sample{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"a\n<!-- begin x", "<!-- end x -->\nb\n", "| `PGRESYNC_NAME` | **needed** | A name. |",
		"| `PGRESYNC_COUNT` | `3` | A count. From 1 to 9. |", "| A mode. One of `slow`, `fast`. |", "| `1m` | A pause. At least 1s. |",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	if strings.Contains(page, "old") {
		t.Error("the old table is still there")
	}
	if _, err := ReplaceTable("no marks", "x", &sample{}); err == nil {
		t.Error("a page without marks: want an error")
	}
}

type command struct{ Common }

func TestRunServesWithALoggerAndReportsTheError(t *testing.T) {
	onlyThese(t, map[string]string{"PGRESYNC_CLUSTER": "main", "PGRESYNC_NODE": "db1", "PGRESYNC_DATASET": "tank/pg", "PGRESYNC_UNSIGNED": "documents,triggers"})
	missing := errors.New("no zfs here")
	var stdout, stderr bytes.Buffer
	err := Run(t.Context(), About{Name: "primary-sidecar"}, func(_ context.Context, cfg command, log zerolog.Logger) error {
		log.Info().Str("dataset", string(cfg.Dataset)).Msg("serving")
		return daemon.WithExitCode(missing, daemon.ExitPrerequisite)
	}, nil, &stdout, &stderr)
	if !errors.Is(err, missing) || daemon.ExitCode(err) != daemon.ExitPrerequisite {
		t.Errorf("got %v with code %d", err, daemon.ExitCode(err))
	}
	if stderr.Len() != 0 {
		t.Errorf("unexpected %q on stderr: the log has it", stderr.String())
	}
	var messages []string
	for dec := json.NewDecoder(&stdout); dec.More(); {
		var line struct{ Message, Sidecar, Node, Error string }
		if err := dec.Decode(&line); err != nil {
			t.Fatal(err)
		}
		if line.Sidecar != "primary" || line.Node != "db1" {
			t.Errorf("a line does not say who logs: %+v", line)
		}
		messages = append(messages, line.Message+" "+line.Error)
	}
	want := []string{"starting ", "serving ", "stopped by an error no zfs here"}
	if diff := cmp.Diff(want, messages); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestAStopIsNoErrorWhateverItCut(t *testing.T) {
	onlyThese(t, map[string]string{"PGRESYNC_CLUSTER": "main", "PGRESYNC_NODE": "db1", "PGRESYNC_DATASET": "tank/pg", "PGRESYNC_UNSIGNED": "documents,triggers"})
	ctx, stop := context.WithCancel(t.Context())
	err := Run(ctx, About{Name: "primary-sidecar"}, func(ctx context.Context, _ command, _ zerolog.Logger) error {
		stop()
		return fmt.Errorf("connect to NATS: %w", ctx.Err())
	}, nil, io.Discard, io.Discard)
	if err != nil {
		t.Errorf("got %v, want an end in order (docs/exit-codes.md)", err)
	}
}

func TestNodeNameComesFromTheHost(t *testing.T) {
	var c Common
	c.Complete()
	if c.Node == "" || strings.ContainsAny(string(c.Node), ".ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t.Errorf("got %q, want the first label in lower case", c.Node)
	}
}
