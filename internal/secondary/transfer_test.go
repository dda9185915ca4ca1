package secondary

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// try is one scripted run of a transfer.
type try struct {
	ask   error                // of the publisher
	read  error                // of the stream
	bytes uint64               // that zfs recv gets
	token messages.ResumeToken // that it leaves
}

// cutWorld is a publisher, a stream and a pool that do what a script says.
type cutWorld struct {
	ZFS
	Primary
	tries   []try
	token   messages.ResumeToken
	free    uint64
	asked   []string // token, attempt not wanted
	aborted int
	room    uint64
}

func (w *cutWorld) List(context.Context, messages.Dataset) ([]messages.DatasetInfo, error) {
	return []messages.DatasetInfo{{Token: w.token, Available: w.free}}, nil
}

func (w *cutWorld) AbortReceive(context.Context, messages.Dataset) error {
	w.aborted++
	w.token = ""
	return nil
}

func (w *cutWorld) Stream(_ context.Context, r messages.StreamRequest) (*messages.StreamRecord, error) {
	w.asked = append(w.asked, fmt.Sprintf("%s %s", r.Token, r.Not))
	w.room = r.Room
	if err := w.tries[0].ask; err != nil {
		w.tries = w.tries[1:]
		return nil, err
	}
	return &messages.StreamRecord{
		To: r.To, From: r.From, Attempt: messages.MessageID(fmt.Sprintf("a%d", len(w.asked))), Estimate: 100,
	}, nil
}

func (w *cutWorld) Read(_ context.Context, _ messages.StreamRecord, _ messages.NodeName, progress func(uint64),
	_ func(context.Context, io.Reader) error,
) error {
	t := w.tries[0]
	w.tries, w.token = w.tries[1:], t.token
	progress(t.bytes)
	return t.read
}

// transfer runs the script on a clock that does not make anybody wait.
func (w *cutWorld) transfer(t *testing.T, token messages.ResumeToken) (moved uint64, events []string, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Cluster: "main", Node: "db2", Lineage: "tank/lineage"},
			Deps{ZFS: w, Primary: w, Downloads: w, Now: time.Now, Log: zerolog.Nop()})
		w.token = token
		moved, err = s.transfer(t.Context(), &messages.Manifest{ID: "m"}, plan.Step{Into: "data", To: 2, Base: messages.Snapshot{GUID: 1}, Token: token})
		close(s.out.events)
		for e := range s.out.events {
			events = append(events, e.Transfer.Trouble)
		}
	})
	return moved, events, err
}

var (
	errCut  = fmt.Errorf("read: %w", messages.ErrStreamCut)
	errGone = fmt.Errorf("target snapshot 2: %w", messages.ErrNotFound)
)

func TestCutTransferGoesOnFromTheToken(t *testing.T) {
	w := &cutWorld{free: 1000, tries: []try{
		{read: errCut, bytes: 10, token: "1-a"},
		{ask: fmt.Errorf("ask: %w", messages.ErrUnavailable)},
		{read: errCut, bytes: 20, token: "1-b"},
		{bytes: 30},
	}}
	moved, events, err := w.transfer(t, "")
	if err != nil || moved != 60 {
		t.Errorf("moved %d bytes, error %v; want 60 and none", moved, err)
	}
	want := []string{" ", "1-a a1", "1-a ", "1-b a3"}
	if diff := cmp.Diff(want, w.asked); diff != "" {
		t.Errorf("token and refused attempt of each request (-want +got):\n%s", diff)
	}
	if len(events) != 3 || w.room != 1000 {
		t.Errorf("%d cuts were told (%q), room was %d", len(events), events, w.room)
	}
}

func TestEveryCutThatBroughtSomethingIsForgiven(t *testing.T) {
	w := &cutWorld{free: 1}
	for i := range 50 {
		w.tries = append(w.tries, try{read: errCut, bytes: 1, token: messages.ResumeToken(fmt.Sprintf("1-%d", i))})
	}
	w.tries = append(w.tries, try{bytes: 1})
	if moved, _, err := w.transfer(t, ""); err != nil || moved != 51 {
		t.Errorf("moved %d, error %v", moved, err)
	}
}

// Two seeds before us may take hours: that is no failure of ours.
func TestWaitingForAPlaceIsNoFailure(t *testing.T) {
	w := &cutWorld{free: 1}
	for range 200 {
		w.tries = append(w.tries, try{ask: fmt.Errorf("ask: %w", messages.ErrQueued)})
	}
	w.tries = append(w.tries, try{bytes: 7})
	moved, events, err := w.transfer(t, "1-a")
	if err != nil || moved != 7 || w.aborted != 0 {
		t.Errorf("moved %d, %d aborted, error %v", moved, w.aborted, err)
	}
	if len(events) == 0 || !strings.Contains(events[0], "waits for its turn") {
		t.Errorf("told %q", events)
	}
}

// What others see of a transfer: how far, how fast, how long still.
func TestProgressTellsRateAndTimeLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Cluster: "main", Node: "db2"}, Deps{Now: time.Now, Log: zerolog.Nop()})
		tell := s.progress(messages.TransferReport{Dataset: "data", Estimate: 100 << 20})
		for n := range uint64(40) { // 10 MiB in 4 s
			tell(n << 18)
			timer := time.NewTimer(100 * time.Millisecond)
			<-timer.C
		}
		close(s.out.events)
		var last *messages.Event
		count := 0
		for e := range s.out.events {
			last, count = &e, count+1
		}
		if count != 3 {
			t.Fatalf("%d events in 4 s, want one a second", count)
		}
		got := last.Transfer
		if last.Type != messages.EventTransfer || got.Bytes != 30<<18 || got.Estimate != 100<<20 || got.Millis != 3000 {
			t.Errorf("%s tells %+v", last.Type, got)
		}
		if got.Rate < 2<<20 || got.Rate > 3<<20 { // 2.5 MiB/s
			t.Errorf("rate is %d bytes/s, want about 2.5 MiB/s", got.Rate)
		}
		if left := time.Duration(got.LeftMillis) * time.Millisecond; left < 30*time.Second || left > 50*time.Second {
			t.Errorf("%s are left, want about 37 s", left)
		}
		if !strings.Contains(last.Text, "bytes/s") || !strings.Contains(last.Text, "left") {
			t.Errorf("text %q tells neither rate nor time left", last.Text)
		}
		if st := s.status(); st.Transfer == nil || st.Transfer.Rate != got.Rate || st.Transfer.LeftMillis != got.LeftMillis {
			t.Errorf("the presence record tells %+v", st.Transfer)
		}
	})
}

func TestTransferThatBringsNothingEnds(t *testing.T) {
	w := &cutWorld{free: 1}
	for range 50 {
		w.tries = append(w.tries, try{ask: messages.ErrUnavailable})
	}
	_, _, err := w.transfer(t, "1-a")
	if !errors.Is(err, messages.ErrUnavailable) || len(w.asked) != tries || w.aborted != 0 {
		t.Errorf("%d requests, %d aborted, error %v; want %d, the token kept", len(w.asked), w.aborted, err, tries)
	}
}

// zrepl#644, NixOS/infra#534: a dead token must not need a human.
func TestTokenOfNoUseClearsItself(t *testing.T) {
	for name, why := range map[string]error{
		"its snapshot is gone":         errGone,
		"it is for another target":     fmt.Errorf("send: %w", messages.ErrTokenInvalid),
		"the stream is not of it":      fmt.Errorf("receive: %w", messages.ErrStreamMismatch),
		"the dataset went on meantime": fmt.Errorf("receive: %w", messages.ErrExists),
	} {
		t.Run(name, func(t *testing.T) {
			w := &cutWorld{free: 1, tries: []try{{ask: why}, {bytes: 7}}}
			moved, events, err := w.transfer(t, "1-dead")
			if err != nil || moved != 7 || w.aborted != 1 {
				t.Errorf("moved %d, %d aborted, error %v", moved, w.aborted, err)
			}
			if len(events) != 1 || !strings.Contains(events[0], "given up") || !strings.Contains(events[0], why.Error()) {
				t.Errorf("told %q, want that it was given up because of %q", events, why)
			}
			if diff := cmp.Diff([]string{"1-dead ", " "}, w.asked); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTargetThatIsGoneLeadsToANewPlan(t *testing.T) {
	w := &cutWorld{free: 1, tries: []try{{ask: errGone}, {ask: errGone}}}
	if _, _, err := w.transfer(t, "1-dead"); !errors.Is(err, messages.ErrNotFound) || w.aborted != 1 {
		t.Errorf("%d aborted, error %v; want 1 and ErrNotFound", w.aborted, err)
	}
}

// A partial receive that cannot be gone on with although all say that it can.
func TestPartialReceiveThatTakesBytesInVainIsGivenUp(t *testing.T) {
	w := &cutWorld{free: 1}
	for range 4 {
		w.tries = append(w.tries, try{read: errCut, bytes: 5, token: "1-a"})
	}
	w.tries = append(w.tries, try{bytes: 7})
	if moved, _, err := w.transfer(t, "1-a"); err != nil || moved != 27 || w.aborted != 1 {
		t.Errorf("moved %d, %d aborted, error %v; want all but one of the bytes in vain", moved, w.aborted, err)
	}
}

func TestTooLittleRoomIsForTheOperator(t *testing.T) {
	w := &cutWorld{free: 50, tries: []try{{ask: fmt.Errorf("stream: %w", messages.ErrNoSpace)}}}
	_, _, err := w.transfer(t, "")
	if remedy, ok := remedyOf(err); !ok || remedy == "" || !errors.Is(err, messages.ErrNoSpace) {
		t.Errorf("error is %v, want ErrNoSpace with a remedy", err)
	}
}
