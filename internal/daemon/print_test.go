package daemon

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	const secret = Secret("hunter2")
	type holder struct {
		Password Secret
		Nested   []Secret
	}
	h := holder{secret, []Secret{secret}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T%[1]v"} {
		fmt.Fprintf(&out, verb+"\n", secret)
		fmt.Fprintf(&out, verb+"\n", h)
		fmt.Fprintf(&out, verb+"\n", &h)
	}
	js, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(js)
	log := zerolog.New(&out)
	log.Info().Interface("config", h).Any("secret", secret).Stringer("s", secret).Send()
	text := strings.ToLower(out.String())
	if strings.Contains(text, "hunter2") || strings.Contains(text, fmt.Sprintf("%x", "hunter2")) {
		t.Errorf("the secret shows:\n%s", text)
	}
	if !strings.Contains(text, "***") {
		t.Errorf("nothing says that a secret is there:\n%s", text)
	}
	if secret.Reveal() != "hunter2" || fmt.Sprint(Secret("")) != "" {
		t.Error("Reveal must give the text, and an empty secret prints as nothing")
	}
}

func TestLoggerWritesTheChosenFormat(t *testing.T) {
	var out bytes.Buffer
	log, err := NewLogger(&out, LogJSON, "info")
	if err != nil {
		t.Fatal(err)
	}
	log.Debug().Msg("not this")
	log.Info().Str(KeyNode, "db1").Msg("hello")
	var line map[string]string
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v in %q", err, out.String())
	}
	at, err := time.Parse(timeLayout, line[KeyTime])
	if err != nil || time.Since(at) > time.Hour || line["message"] != "hello" || line[KeyNode] != "db1" {
		t.Errorf("got %v (%v), want message, node and the time", line, err)
	}

	out.Reset()
	if log, err = NewLogger(&out, LogConsole, "debug"); err != nil {
		t.Fatal(err)
	}
	log.Debug().Str(KeyNode, "db1").Msg("hello")
	if got := out.String(); !strings.HasSuffix(got, "Z DBG hello node=db1\n") {
		t.Errorf("got %q, want time, level, message, field", got)
	}
}

func TestLoggerRefusesWhatItDoesNotKnow(t *testing.T) {
	if _, err := NewLogger(nil, "xml", "info"); err == nil || !strings.Contains(err.Error(), `"xml"`) {
		t.Errorf("format xml: got %v", err)
	}
	if _, err := NewLogger(nil, LogJSON, "loud"); err == nil || !strings.Contains(err.Error(), `"loud"`) {
		t.Errorf("level loud: got %v", err)
	}
}

func TestVersionOfABuild(t *testing.T) {
	revision := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"}}
	for _, c := range []struct {
		info debug.BuildInfo
		want string
	}{
		{debug.BuildInfo{}, "devel"},
		{debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "v1.2.3"},
		{debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: revision[:1]}, "devel-0123456789ab"},
		{debug.BuildInfo{Settings: revision}, "devel-0123456789ab+changes"},
	} {
		if got := buildVersion(&c.info); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	if got := VersionLine("x"); !strings.HasPrefix(got, "x ") || Version() == "" {
		t.Errorf("got %q", got)
	}
}
