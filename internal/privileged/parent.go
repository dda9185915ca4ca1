package privileged

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/command"
)

// marker is the variable by which the unprivileged part knows itself, and the number
// of its end of the socket. It has not the prefix of a setting because it is none.
const marker = "PRIVILEGED_SOCKET_OF_PGRESYNC"

// socketFD is the first one behind the standard streams.
const socketFD = 3

// Options are of the privileged part.
type Options struct {
	Policy Policy
	// User is whom the unprivileged part runs as.
	User string
	// Args are the arguments of the program, without its name.
	Args []string
	// UsersOf names the processes, but for the excepted one, that keep mount points busy.
	UsersOf func(mountpoints []string, except ...int) []string
	Log     zerolog.Logger
}

// ErrNotRoot means that there are no privileges to separate.
var ErrNotRoot = errors.New("privileges are separated by root only: start it as root")

// ErrRoot means that the unprivileged part was started with privileges.
var ErrRoot = errors.New(marker + " is set, and this process is root: unset it, it is for the unprivileged part only")

// ErrEnded means that the unprivileged part was killed, or was ended by us since it
// broke the protocol.
var ErrEnded = errors.New("the unprivileged part ended")

// Inherited is the unprivileged part's end of the socket, nil in any other process. It
// is taken from the environment and from the reach of what this process starts.
func Inherited() (*Client, error) {
	value, ok := os.LookupEnv(marker)
	if !ok {
		return nil, nil //nolint:nilnil // this is not the unprivileged part
	}
	if os.Geteuid() == 0 {
		return nil, ErrRoot
	}
	if value != strconv.Itoa(socketFD) {
		return nil, fmt.Errorf("%s=%q: want %d", marker, value, socketFD)
	}
	conn, err := connection(os.NewFile(socketFD, "privileged part"))
	if err != nil {
		return nil, fmt.Errorf("reach the privileged part: %w", err)
	}
	if err := os.Unsetenv(marker); err != nil {
		return nil, err
	}
	return NewClient(conn), nil
}

// connection takes f over: its copy is close-on-exec.
func connection(f *os.File) (*net.UnixConn, error) {
	defer func() { _ = f.Close() }() // the copy is used
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("want a socket pair, got %T", c), c.Close())
	}
	return conn, nil
}

// environment is that of the unprivileged part.
func environment(env []string, home, user, notify string) []string {
	replaced := map[string]string{"HOME": home, "USER": user, "LOGNAME": user, marker: strconv.Itoa(socketFD)}
	if notify != "" {
		replaced["NOTIFY_SOCKET"] = notify
	}
	out := make([]string, 0, len(env)+len(replaced))
	for _, item := range env {
		key, _, _ := strings.Cut(item, "=")
		// The watchdog is systemd's for this process, and petted by the other one.
		if _, ours := replaced[key]; !ours && key != "WATCHDOG_PID" {
			out = append(out, item)
		}
	}
	for _, key := range sorted(replaced) {
		out = append(out, key+"="+replaced[key])
	}
	return out
}

// server is made of what root configured.
func (o *Options) server(c *command.Credential, child int) *Server {
	return &Server{
		Policy: o.Policy, UID: int(c.UID), GID: int(c.GID), Log: o.Log,
		UsersOf: func(places []string) []string { return o.UsersOf(places, child) },
	}
}

// prepare checks what would be refused later.
func (o *Options) prepare(ctx context.Context) (*command.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, ErrNotRoot
	}
	if err := o.Policy.Validate(); err != nil {
		return nil, err
	}
	c, err := command.LookupCredential(o.User)
	if err != nil {
		return nil, err
	}
	if c.UID == 0 {
		return nil, fmt.Errorf("user %s is root: want PostgreSQL's user", o.User)
	}
	return c, o.server(c, 0).CheckPlaces(ctx)
}
