package bus

import (
	"context"
	"testing"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// A request is what any standby can send to a publisher.
func FuzzRequests(f *testing.F) {
	for _, s := range []string{
		`{"v":1,"cluster":"main","node":"db2"}`, `{"v":1,"cluster":"other","node":"db2"}`, `{"v":1,"cluster":"main","node":"db3"}`,
		`{"v":1,"cluster":"main","node":"db2","dataset":".","to":"2","from":"1","token":"1-a-b-c"}`, `{"v":2}`, `{}`, ``,
	} {
		f.Add("db2", []byte(s))
	}
	f.Fuzz(func(t *testing.T, asker string, body []byte) {
		facts := bind("main", "facts", time.Second, func(_ context.Context, r messages.FactsRequest) (*messages.PrimaryFacts, error) {
			if r.Cluster != "main" || string(r.Node) != asker {
				t.Errorf("a request of %q passed as %+v", asker, r)
			}
			return nil, messages.ErrBusy
		}, func(r *messages.FactsRequest) who { return who{r.Cluster, r.Node} })
		stream := bind("main", "stream", time.Second, func(_ context.Context, r messages.StreamRequest) (*messages.StreamRecord, error) {
			if r.Cluster != "main" || string(r.Node) != asker || r.To == r.From || len(r.Token) > 4096 {
				t.Errorf("a request of %q passed as %+v", asker, r)
			}
			return nil, messages.ErrBusy
		}, func(r *messages.StreamRequest) who { return who{r.Cluster, r.Node} })
		_, _ = facts.handle(t.Context(), messages.NodeName(asker), body)
		_, _ = stream.handle(t.Context(), messages.NodeName(asker), body)
	})
}
