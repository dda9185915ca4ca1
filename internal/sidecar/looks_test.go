package sidecar

import (
	"context"
	"testing"

	"github.com/pgresync/pgresync/messages"
)

// server is a PostgreSQL with one slot.
type server struct{ role messages.Role }

func (s server) Identity(context.Context) (messages.Identity, error) {
	return messages.Identity{Role: s.role, LSN: 5000}, nil
}

func (server) SlotUses(context.Context) ([]messages.SlotUse, error) {
	return []messages.SlotUse{{SlotState: messages.SlotState{Name: "pgresync_db2_x", RestartLSN: 4000}}}, nil
}

func TestTheSlotsOfAFormerPrimaryAreShown(t *testing.T) {
	for _, role := range []messages.Role{messages.RolePrimary, messages.RoleStandby} {
		if got, err := LookAtSlots(server{role}).Look(t.Context()); err != nil || len(got) == 0 {
			t.Errorf("a %s: got %v, %v, want its slot", role, got, err)
		}
	}
}
