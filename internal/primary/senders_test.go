package primary

import (
	"context"
	"testing"
	"time"

	"github.com/pgresync/pgresync/messages"
)

type senders struct {
	postgres
	seen []messages.Sender
}

func (s *senders) Senders(context.Context) ([]messages.Sender, error) { return s.seen, nil }

// A standby of an HA manager has that one's slot, or none.
func TestAStandbyIsSeenStreamingByItsSlotOrItsName(t *testing.T) {
	ours := messages.SlotName("db2", messages.NewResyncID(time.Now()))
	for name, tt := range map[string]struct {
		sender messages.Sender
		want   bool
	}{
		"our slot":              {messages.Sender{SlotName: ours, State: "streaming"}, true},
		"another's slot":        {messages.Sender{ApplicationName: "db2", SlotName: "db2", State: "streaming"}, true},
		"no slot":               {messages.Sender{ApplicationName: "db2", State: "streaming"}, true},
		"catching up":           {messages.Sender{ApplicationName: "db2", State: "catchup"}, true},
		"a base backup":         {messages.Sender{ApplicationName: "db2", State: "backup"}, false},
		"on its way out":        {messages.Sender{ApplicationName: "db2", State: "stopping"}, false},
		"another node":          {messages.Sender{ApplicationName: "db3", SlotName: "db3", State: "streaming"}, false},
		"another node's prefix": {messages.Sender{ApplicationName: "db22", State: "streaming"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, f := &Service{slots: &senders{seen: []messages.Sender{tt.sender}}}, &messages.PrimaryFacts{}
			if err := s.addSlots(t.Context(), f, "db2"); err != nil || f.Streaming != tt.want {
				t.Errorf("got %v, %v, want %v", f.Streaming, err, tt.want)
			}
		})
	}
}
