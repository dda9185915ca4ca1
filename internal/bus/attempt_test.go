package bus_test

import (
	"errors"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/messages"
)

func TestAttemptsFindWhatIsDeniedAndStoreNothing(t *testing.T) {
	s := natstest.Run(t, func(o *natsserver.Options) {
		o.Users = []*natsserver.User{
			{Username: "all", Password: "x"},
			{Username: "little", Password: "x", Permissions: &natsserver.Permissions{
				Publish:   &natsserver.SubjectPermission{Allow: []string{names.Event("*", "db2"), "$JS.API.STREAM.INFO.>"}},
				Subscribe: &natsserver.SubjectPermission{Allow: []string{"_INBOX_main_db2.>", "pgresync.main.op.db2.>"}},
			}},
		}
	})
	as := func(user string) func(*bus.Config) {
		return func(c *bus.Config) { c.User, c.Password = user, "x" }
	}
	node(t, s, "db1", as("all"))
	cfg := config(s.URL(), "db2")
	as("little")(&cfg)
	b := join(t, cfg)
	for subject, allowed := range map[string]bool{
		names.Event(messages.EventVerdict, "db2"):                           true,
		names.Event(messages.EventVerdict, "db1"):                           false,
		"$KV." + names.PresenceBucket() + ".node.db2.secondary":             false,
		"$JS.API.STREAM.INFO." + names.Stream():                             true,
		names.Operator("db1", messages.SidecarPrimary, messages.VerbStatus): false,
	} {
		if err := b.AttemptPublish(t.Context(), subject); errors.Is(err, messages.ErrPermission) == allowed {
			t.Errorf("publish on %s: %v, want allowed %v", subject, err, allowed)
		}
	}
	for subject, allowed := range map[string]bool{"pgresync.main.op.db2.secondary.>": true, "pgresync.main.svc.db2.>": false} {
		if err := b.AttemptSubscribe(t.Context(), subject); errors.Is(err, messages.ErrPermission) == allowed {
			t.Errorf("subscribe to %s: %v, want allowed %v", subject, err, allowed)
		}
	}
	if a, err := b.Account(t.Context()); err != nil || a.JetStream != nil || a.Store != -1 {
		t.Errorf("account that we may not know: %+v, %v", a, err)
	}
	// One who may do everything stores nothing either.
	full := node(t, s, "db3", as("all"))
	for _, subject := range []string{names.Event(messages.EventVerdict, "db3"), "$KV." + names.Bucket() + ".lease"} {
		if err := full.AttemptPublish(t.Context(), subject); err != nil {
			t.Error(err)
		}
	}
	for _, stream := range []string{names.Stream(), "KV_" + names.Bucket()} {
		st, err := full.JetStream().Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := st.Info(t.Context(), jetstream.WithSubjectFilter(">")); err != nil || info.State.Msgs != 0 {
			t.Errorf("%s holds %d messages, %v; want none", stream, info.State.Msgs, err)
		}
	}
	if a, err := full.Account(t.Context()); err != nil || a.JetStream != nil || a.MaxPayload != 1<<20 || a.Server == "" {
		t.Errorf("account %+v, %v", a, err)
	}
}
