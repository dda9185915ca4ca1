package secondary

import (
	"fmt"

	"github.com/pgresync/pgresync/messages"
)

// byOthers is a server that somebody else started during a switch. It is not
// fought: the switch is taken back, and who reads this can find the process.
func byOthers(dir string, srv Server) error {
	who := processOf(srv)
	return advised(fmt.Errorf("PostgreSQL in %s: %w: it was started by somebody else, %s", dir, messages.ErrBusy, who),
		"find out what started "+who+", and keep it from doing so during a resync (PGRESYNC_PG_UNIT for a systemd unit, `pgresync pause` for a person)")
}

// processOf names the server's process, as far as the adapter knows it.
func processOf(srv Server) string {
	if p, ok := srv.(interface{ PID() int }); ok && p.PID() > 0 {
		return fmt.Sprintf("process %d", p.PID())
	}
	return "an unknown process"
}
