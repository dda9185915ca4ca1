package natstest

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// AwaitService waits until a micro service has that many endpoints. It answers a
// ping before there is one.
func AwaitService(t testing.TB, nc *nats.Conn, name string, endpoints int) {
	t.Helper()
	Eventually(t, time.Minute, "service "+name, func() error {
		m, err := nc.Request("$SRV.INFO."+name, nil, time.Second)
		if err != nil {
			return err
		}
		var info micro.Info
		if err := json.Unmarshal(m.Data, &info); err != nil {
			return err
		}
		if n := len(info.Endpoints); n < endpoints {
			return fmt.Errorf("%d endpoints of %d", n, endpoints)
		}
		return nil
	})
}
