package natstest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/pgresync/pgresync/internal/natstest"
)

func TestMain(m *testing.M) {
	natstest.Roles(nil)
	goleak.VerifyTestMain(m)
}

func TestKilledProcessComesBackWithItsData(t *testing.T) {
	p := natstest.StartProcess(t)
	js := natstest.JetStream(t, natstest.Connect(t, p.URL()))
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s", []byte("one")); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	p.Start()
	natstest.Eventually(t, 10*time.Second, "the message to be there", func() error {
		s, err := js.Stream(t.Context(), "S")
		if err == nil && s.CachedInfo().State.Msgs != 1 {
			err = errors.New("no message")
		}
		return err
	})
}

func TestRestartKeepsPortAndData(t *testing.T) {
	s := natstest.Run(t)
	js := s.JetStream(t)
	url := s.URL()
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s", []byte("one")); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	if got := s.URL(); got != url {
		t.Errorf("after a restart the server is at %s, was at %s", got, url)
	}
	var stream jetstream.Stream
	natstest.Eventually(t, 10*time.Second, "the stream to come back", func() (err error) {
		stream, err = js.Stream(t.Context(), "S")
		return err
	})
	if got := stream.CachedInfo().State.Msgs; got != 1 {
		t.Errorf("after a restart the stream holds %d messages, want 1", got)
	}
}

func TestClusterElectsAndStepsDown(t *testing.T) {
	c := natstest.Cluster(t, 3)
	js := c.JetStream(t)
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	before := c.Leader(js, "S")
	c.StepDown(js, "S")
	natstest.Eventually(t, 10*time.Second, "another leader", func() error {
		if c.Leader(js, "S") == before {
			return errors.New("the same one leads")
		}
		return nil
	})
}
