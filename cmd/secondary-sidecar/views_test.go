package main

import (
	"errors"
	"testing"

	"github.com/pgresync/pgresync/messages"
)

func TestBriefSaysWhatTheStandbyDoes(t *testing.T) {
	for _, c := range []struct {
		st   messages.NodeStatus
		nats error
		want string
	}{
		{messages.NodeStatus{Phase: messages.PhaseIdle, Verdict: messages.VerdictHealthy, Reason: messages.ReasonStreaming}, nil, "idle: healthy (streaming)"},
		{messages.NodeStatus{Phase: messages.PhaseIdle, Verdict: messages.VerdictWait, Reason: messages.ReasonPrimaryUnknown, Paused: &messages.Pause{}}, errors.New("down"), "idle: wait (primary-unknown), paused, NATS is away"},
		{messages.NodeStatus{Phase: messages.PhaseReceiving, Last: &messages.ResyncReport{ID: "r1"}, Transfer: &messages.TransferReport{
			Dataset: "data", Bytes: 42, Estimate: 100, Rate: 180 << 20, LeftMillis: 31000,
		}}, nil, `resync r1: receiving, 42 % of "data" at 180.0 MiB/s, 31s left`},
	} {
		if got := brief(c.st, c.nats); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
