package settings

import (
	"fmt"
	"net"
	"strconv"
)

// CheckAddress wants host:port to listen on; the host may be empty.
func CheckAddress(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q: want host:port", s)
	}
	return CheckPort(port)
}

// CheckPort wants the number of a TCP port; 0, which draws a free one, is allowed.
func CheckPort(s string) error {
	if n, err := strconv.Atoi(s); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("port %q: want a number up to 65535", s)
	}
	return nil
}
