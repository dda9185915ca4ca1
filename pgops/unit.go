package pgops

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/pgresync/pgresync/internal/command"
	"github.com/pgresync/pgresync/messages"
)

// unit is a systemd service.
type unit struct {
	name string
	via  command.Executor
}

// unitName is systemd.unit(5)'s alphabet; what systemd calls escapes has backslashes.
var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.\\][A-Za-z0-9:_.\\@-]*\.service$`)

func newUnit(name string, via command.Executor) (controller, error) {
	if !strings.HasSuffix(name, ".service") {
		name += ".service"
	}
	if !unitName.MatchString(name) {
		return nil, fmt.Errorf("control PostgreSQL: systemd unit %q: want the name of a service", name)
	}
	return unit{name, via}, nil
}

func (u unit) String() string { return "unit " + u.name }

func (u unit) systemctl(args ...string) command.Command {
	return command.Command{Path: "systemctl", Args: append(args, u.name), Dir: "/", Via: u.via}
}

// start returns when systemd thinks that the unit is up, which for Debian's
// (ExecStart=-…) it does whatever became of it.
func (u unit) start(ctx context.Context) error {
	if _, err := u.status(ctx); err != nil {
		return err
	}
	return u.systemctl("start").Run(ctx)
}

// stop also ends a pending restart: a unit with Restart= that is stopped by
// systemctl stays down (systemd.service(5)).
func (u unit) stop(ctx context.Context) error { return u.systemctl("stop").Run(ctx) }

func (u unit) status(ctx context.Context) (claim, error) {
	out, err := u.systemctl("show", "--property=LoadState,ActiveState,SubState,MainPID").Output(ctx)
	if err != nil {
		return claim{}, fmt.Errorf("status of %s: %w", u, err)
	}
	return u.parse(string(out))
}

// parse reads the key=value lines of systemctl show, which come in an order of
// their own; it exits with 0 for a unit that does not exist, too.
func (u unit) parse(out string) (claim, error) {
	got := map[string]string{}
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		got[key] = value
	}
	pid, err := strconv.Atoi(got["MainPID"])
	if err != nil || got["ActiveState"] == "" {
		return claim{}, fmt.Errorf("status of %s: systemctl show printed neither ActiveState nor MainPID: %q", u, clip(out))
	}
	if state := got["LoadState"]; state != "loaded" {
		return claim{}, fmt.Errorf("status of %s: %w: systemd says it is %s", u, messages.ErrNotFound, state)
	}
	if got["ActiveState"] == "active" && got["SubState"] == "exited" && pid == 0 {
		// Debian's postgresql.service: stopping it stops every cluster of the host.
		return claim{}, fmt.Errorf("status of %s: %w: it is active (exited) and names no server of its own; name the instance, like postgresql@15-main",
			u, messages.ErrRefused)
	}
	c := claim{pid: pid, text: got["ActiveState"] + " (" + got["SubState"] + ")"}
	switch got["ActiveState"] {
	case "inactive", "failed":
	default:
		// activating may be a restart that is due; deactivating and what newer versions
		// add are no proof of an end.
		c.runs = true
	}
	return c, nil
}
