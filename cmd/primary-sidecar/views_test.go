package main

import (
	"errors"
	"testing"

	"github.com/pgresync/pgresync/messages"
)

func TestBriefSaysWhatThePublisherDoes(t *testing.T) {
	streams := []messages.StreamRecord{{State: messages.StreamRunning}, {State: messages.StreamComplete}}
	for _, c := range []struct {
		publishes bool
		nats      error
		streams   []messages.StreamRecord
		want      string
	}{
		{true, nil, nil, "publishing"},
		{true, nil, streams, "publishing, 1 uploads run, 0 wait"},
		{false, nil, nil, "standing by: this node does not publish"},
		{true, errors.New("down"), streams, "waits for NATS"},
	} {
		if got := brief(c.publishes, c.nats, c.streams, 0); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
