package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// ErrFailed says that a resync ended without success.
var ErrFailed = errors.New("the resync did not succeed")

// pollEvery is between two looks at a resync that is waited for.
const pollEvery = 500 * time.Millisecond

// Wait returns when the resync with this id is over: nil when the node streams
// again, ErrFailed when it needs its operator. changed is told every new phase. A
// sidecar that restarts meanwhile goes on where it was, so that its silence is
// waited out, until ctx is done.
func Wait(ctx context.Context, c Cluster, node messages.NodeName, id messages.ResyncID, changed func(messages.NodeStatus)) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	last := messages.Phase("")
	for {
		st := ask(ctx, c, messages.NodeStatus{Node: node, Sidecar: messages.SidecarSecondary})
		if st.Silent == "" {
			if st.Phase != last {
				last = st.Phase
				changed(st.NodeStatus)
			}
			if done, err := over(st.NodeStatus, id); done {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for resync %s of node %s, %s now: %w", id, node, last, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func over(st messages.NodeStatus, id messages.ResyncID) (bool, error) {
	switch st.Phase { //nolint:exhaustive // in all others it goes on
	case messages.PhaseNeedsOperator:
		return true, fmt.Errorf("node %s: %w%s", st.Node, ErrFailed, because(st.Last))
	case messages.PhaseIdle:
		// Idle with another phase in the report: it streams again by itself, or the
		// report was lost with the process.
		if st.Last != nil && st.Last.ID != id && st.Last.ID > id {
			return true, fmt.Errorf("node %s: %w: resync %s came after it", st.Node, ErrFailed, st.Last.ID)
		}
		return true, nil
	}
	return false, nil
}
