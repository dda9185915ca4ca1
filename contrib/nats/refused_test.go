package nats_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/pgresync/pgresync/messages"
)

const (
	aStream  = "0123456789abcdef0123456789abcdef"
	anID     = "06dkx6g0g800000000000003"
	sub      = "sub "
	theirs   = "secondary-main-db3"
	mine     = "primary-main-db1"
	reader   = "operator-read-main-alice"
	verifier = "operator-verify-main-vera"
	operator = "operator-write-main-carol"
)

// forbidden lists, by user, what the server has to refuse: subjects to publish on,
// or, after "sub ", to subscribe to.
var forbidden = map[string][]string{
	theirs: {
		// other nodes' words, and the publisher's
		"pgresync.main.event.rejoined.db2", "pgresync.main.event.snapshot-ready.db1", "pgresync.main.event.snapshot-ready.db3",
		"pgresync.main.stream." + aStream + "." + anID + ".part.00000000", "pgresync.main.stream." + aStream + "." + anID + ".end",
		"$O.pgresync-main.C.x", "$O.pgresync-main.M.x", "$KV.pgresync-main.lease", "$KV.pgresync-main.stream." + aStream,
		"$KV.pgresync-main_nodes.node.db2.secondary", "$KV.pgresync-main_nodes.node.db3.primary",
		"pgresync.main.svc.db1.slot.db2", "pgresync.main.svc.db1.stream.db2", "pgresync.main.op.db2.secondary.resync",
		"pgresync.main.trigger.resync.db2", "pgresync.main.trigger.resync.all", "pgresync.main.trigger.snapshot",
		"_INBOX_main_db2.x.y",
		// other nodes' consumers
		"$JS.API.CONSUMER.MSG.NEXT.PGRESYNC_main.secondary-db2", "$JS.API.CONSUMER.DELETE.PGRESYNC_main.secondary-db2",
		"$JS.API.CONSUMER.INFO.PGRESYNC_main.secondary-db2", "$JS.ACK.PGRESYNC_main.secondary-db2.1.1.1.1.0",
		"$JS.API.CONSUMER.CREATE.PGRESYNC_main.secondary-db2.pgresync.main.trigger.resync.*",
		"$JS.API.CONSUMER.CREATE.PGRESYNC_main.secondary-db3", "$JS.API.CONSUMER.CREATE.PGRESYNC_main.secondary-db3.pgresync.main.>",
		"$JS.API.CONSUMER.DURABLE.CREATE.PGRESYNC_main.secondary-db3", "$JS.API.CONSUMER.CREATE.PGRESYNC_main",
		"$JS.API.CONSUMER.NAMES.PGRESYNC_main_PARTS", "$JS.API.CONSUMER.LIST.PGRESYNC_main_PARTS", "$JS.API.CONSUMER.NAMES.OBJ_pgresync-main",
		"$JS.API.CONSUMER.CREATE.PGRESYNC_main_PARTS.x.pgresync.main.stream.>", "$JS.API.CONSUMER.CREATE.PGRESYNC_main_PARTS",
		"$JS.API.CONSUMER.CREATE.OBJ_pgresync-main", "$JS.API.CONSUMER.CREATE.OBJ_pgresync-main.x",
		"$JS.API.CONSUMER.PAUSE.PGRESYNC_main.secondary-db2",
		// streams
		"$JS.API.STREAM.CREATE.PGRESYNC_main", "$JS.API.STREAM.CREATE.mine", "$JS.API.STREAM.UPDATE.PGRESYNC_main",
		"$JS.API.STREAM.DELETE.PGRESYNC_main", "$JS.API.STREAM.PURGE.PGRESYNC_main", "$JS.API.STREAM.PURGE.OBJ_pgresync-main",
		"$JS.API.STREAM.MSG.GET.PGRESYNC_main", "$JS.API.STREAM.MSG.DELETE.KV_pgresync-main", "$JS.API.STREAM.SNAPSHOT.OBJ_pgresync-main",
		"$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$JS.API.DIRECT.GET.PGRESYNC_main_PARTS",
		"$JS.API.DIRECT.GET.OBJ_pgresync-main.$O.pgresync-main.C.x", "$JS.API.DIRECT.GET.KV_pgresync-main",
		"$JS.API.DIRECT.GET.KV_pgresync-main_nodes.$KV.pgresync-main_nodes.node.db3.secondary",
		// the other cluster
		"$JS.API.STREAM.INFO.OBJ_pgresync-other", "$JS.API.STREAM.INFO.KV_pgresync-other",
		"$JS.API.CONSUMER.CREATE.OBJ_pgresync-other.x.$O.pgresync-other.C.y", "$JS.API.CONSUMER.MSG.NEXT.OBJ_pgresync-other.x",
		"$JS.API.DIRECT.GET.KV_pgresync-other.$KV.pgresync-other.lease", "pgresync.other.svc.db1.stream.db3", "pgresync.other.event.rejoined.db3",
		// the system
		"$SYS.REQ.SERVER.PING", "$JS.API.META.LEADER.STEPDOWN", "$JS.API.ACCOUNT.PURGE.PGRESYNC",
		// what others say and are told
		sub + ">", sub + "_INBOX.>", sub + "_INBOX_main_db2.>", sub + "_INBOX_main_db1.>", sub + "pgresync.main.event.>",
		sub + "pgresync.main.svc.>", sub + "pgresync.main.svc.db1.stream.*", sub + "pgresync.main.stream.>", sub + "pgresync.main.consumed.>",
		sub + "pgresync.main.op.db2.secondary.>", sub + "$O.pgresync-main.C.>", sub + "$KV.pgresync-main.>", sub + "$JS.>",
		sub + "$JS.EVENT.>", sub + "$JS.ACK.>", sub + "$JS.API.CONSUMER.>", sub + "pgresync.other.event.>", sub + "$SYS.>",
	},
	mine: {
		"pgresync.main.event.rejoined.db2", "$KV.pgresync-main_nodes.node.db2.secondary", "pgresync.main.trigger.resync.db2",
		"pgresync.main.trigger.snapshot", "pgresync.main.svc.db2.facts.db1", "_INBOX_main_db2.x.y",
		"$JS.API.CONSUMER.MSG.NEXT.PGRESYNC_main.secondary-db2", "$JS.API.CONSUMER.CREATE.PGRESYNC_main.primary",
		"$JS.API.CONSUMER.CREATE.PGRESYNC_main.primary.pgresync.main.>",
		"$JS.API.STREAM.CREATE.mine", "$JS.API.STREAM.DELETE.PGRESYNC_main", "$JS.API.STREAM.PURGE.PGRESYNC_main", "$JS.API.STREAM.PURGE.KV_pgresync-main",
		"$O.pgresync-other.C.x", "$KV.pgresync-other.lease", "pgresync.other.event.snapshot-ready.db1", "pgresync.other.stream.x.y.end",
		"$JS.API.STREAM.INFO.OBJ_pgresync-other", "$JS.API.STREAM.PURGE.OBJ_pgresync-other",
		"$JS.API.DIRECT.GET.OBJ_pgresync-other.$O.pgresync-other.C.x", "$JS.API.CONSUMER.CREATE.OBJ_pgresync-other.x.$O.pgresync-other.C.y",
		sub + "_INBOX_main_db2.>", sub + "pgresync.main.svc.db2.>", sub + "pgresync.other.consumed.>", sub + "pgresync.main.event.>", sub + ">",
	},
	reader: {
		"pgresync.main.trigger.resync.db2", "pgresync.main.trigger.resync.all", "pgresync.main.trigger.snapshot",
		"pgresync.main.op.db2.secondary.resync", "pgresync.main.op.db2.secondary.pause", "pgresync.main.op.db1.primary.snapshot",
		"pgresync.main.svc.db1.slot.db2", "pgresync.main.event.rejoined.db2", "$KV.pgresync-main.lease", "$KV.pgresync-main_nodes.node.db2.secondary",
		"$O.pgresync-main.M.x", "$JS.API.DIRECT.GET.OBJ_pgresync-main.$O.pgresync-main.C.x", "$JS.API.DIRECT.GET.OBJ_pgresync-main",
		"$JS.API.CONSUMER.CREATE.OBJ_pgresync-main.x.$O.pgresync-main.C.>", "$JS.API.CONSUMER.CREATE.OBJ_pgresync-main.x",
		"$JS.API.CONSUMER.MSG.NEXT.PGRESYNC_main.secondary-db2", "$JS.API.CONSUMER.DELETE.PGRESYNC_main.secondary-db2",
		"$JS.API.STREAM.PURGE.PGRESYNC_main", "$JS.API.STREAM.DELETE.PGRESYNC_main", "$JS.API.STREAM.MSG.DELETE.PGRESYNC_main",
		"$JS.API.CONSUMER.CREATE.PGRESYNC_main.secondary-db2.pgresync.main.event.>", "$JS.API.CONSUMER.CREATE.PGRESYNC_main.x.pgresync.main.event.>",
		"$JS.API.STREAM.MSG.GET.PGRESYNC_main_PARTS", "$JS.API.STREAM.MSG.GET.OBJ_pgresync-main", "$JS.API.CONSUMER.MSG.NEXT.OBJ_pgresync-main.x",
		"$JS.API.DIRECT.GET.PGRESYNC_main.pgresync.main.trigger.snapshot", "$JS.API.CONSUMER.NAMES.PGRESYNC_main_PARTS",
		"$JS.API.DIRECT.GET.KV_pgresync-other.$KV.pgresync-other.lease",
		sub + "$O.pgresync-main.C.>", sub + "pgresync.other.event.>", sub + "_INBOX_main_db2.>", sub + "pgresync.main.svc.>",
	},
	verifier: {
		"pgresync.main.trigger.resync.db2", "pgresync.main.op.db2.secondary.resync", "$O.pgresync-main.C.x", "$O.pgresync-main.M.x", "$KV.pgresync-main.lease",
		"$JS.API.CONSUMER.CREATE.PGRESYNC_main_PARTS.x.pgresync.main.stream.>", "$JS.API.CONSUMER.DELETE.PGRESYNC_main_PARTS.x",
		"$JS.API.CONSUMER.MSG.NEXT.PGRESYNC_main_PARTS.x", "$JS.API.CONSUMER.CREATE.PGRESYNC_main.secondary-db2.pgresync.main.event.>",
		"$JS.API.STREAM.PURGE.OBJ_pgresync-main", "$JS.API.STREAM.PURGE.PGRESYNC_main_PARTS", "$JS.API.CONSUMER.CREATE.OBJ_pgresync-other.x.$O.pgresync-other.C.y",
		"$JS.API.CONSUMER.MSG.NEXT.PGRESYNC_main.secondary-db2", sub + "pgresync.main.svc.>", sub + "$O.pgresync-main.C.>",
	},
	operator: {
		"pgresync.main.event.rejoined.db2", "$KV.pgresync-main.lease", "pgresync.main.stream.x.y.end", "$O.pgresync-main.M.x",
		"pgresync.main.svc.db1.slot.db2", "pgresync.other.trigger.resync.all", "pgresync.other.op.db2.secondary.resync",
		"$JS.API.DIRECT.GET.OBJ_pgresync-main.$O.pgresync-main.C.x", "$JS.API.STREAM.PURGE.PGRESYNC_main", "$JS.API.STREAM.DELETE.PGRESYNC_main",
		"$JS.API.CONSUMER.MSG.NEXT.PGRESYNC_main.secondary-db2", sub + "_INBOX_main_db2.>", sub + "pgresync.main.svc.>",
	},
}

// In a shared account a primary may not make or alter streams, since a stream can
// be told to copy another one, and a provisioner may do nothing else.
var forbiddenInOneAccount = map[string][]string{
	mine: {
		"$JS.API.STREAM.CREATE.PGRESYNC_main", "$JS.API.STREAM.CREATE.OBJ_pgresync-main", "$JS.API.STREAM.UPDATE.OBJ_pgresync-main",
		"$JS.API.STREAM.UPDATE.PGRESYNC_main_PARTS",
	},
	"provisioner-main-prov": {
		"$KV.pgresync-main.lease", "pgresync.main.trigger.snapshot", "pgresync.main.event.rejoined.db1", "$O.pgresync-main.C.x",
		"$JS.API.CONSUMER.CREATE.OBJ_pgresync-main.x.$O.pgresync-main.C.y", "$JS.API.DIRECT.GET.KV_pgresync-main.$KV.pgresync-main.lease",
		"$JS.API.STREAM.CREATE.OBJ_pgresync-other", "$JS.API.STREAM.DELETE.PGRESYNC_main", sub + ">", sub + "pgresync.main.event.>",
	},
}

func TestForbiddenActsAreRefusedInOneAccount(t *testing.T) {
	t.Parallel()
	w := newSite(t, "one-account.conf")
	w.provision(t, "provisioner-main-prov")
	w.provision(t, "provisioner-other-prov")
	w.refuses(t, forbidden)
	w.refuses(t, forbiddenInOneAccount)
}

func TestForbiddenActsAreRefusedInAnAccountPerCluster(t *testing.T) {
	t.Parallel()
	newSite(t, "account-per-cluster.conf").refuses(t, forbidden)
}

func (w *site) refuses(t *testing.T, acts map[string][]string) {
	t.Helper()
	for user, list := range acts {
		for _, act := range list {
			if err := w.attempt(t, user, act); !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s may do %q (%v)", user, act, err)
			}
		}
	}
}

// attempt is over, and refused or not, when the server has answered the flush.
func (w *site) attempt(t *testing.T, user, act string) error {
	t.Helper()
	nc := w.client(t, user)
	defer nc.Close()
	var err error
	if subject, ok := strings.CutPrefix(act, sub); ok {
		_, err = nc.SubscribeSync(subject)
	} else {
		err = nc.Publish(act, []byte("{}"))
	}
	return errors.Join(err, nc.Flush(), nc.LastError())
}

// What may be done, by the same measure, lest attempt refuse everything.
func TestTheMeasureOfRefusalsKnowsWhatIsAllowed(t *testing.T) {
	t.Parallel()
	w := newSite(t, "account-per-cluster.conf")
	for user, act := range map[string]string{
		theirs:   "pgresync.main.event.rejoined.db3",
		mine:     "$KV.pgresync-main.lease",
		reader:   sub + "pgresync.main.event.>",
		operator: "pgresync.main.trigger.resync.db2",
	} {
		if err := w.attempt(t, user, act); err != nil {
			t.Errorf("%s may not do %q: %v", user, act, err)
		}
	}
}

func TestWithoutACertificateNobodyGetsIn(t *testing.T) {
	t.Parallel()
	w := newSite(t, "one-account.conf")
	_, opts := w.login(theirs)
	nc, err := nats.Connect(w.url, opts[0], opts[1]) // the right key, no certificate
	if err == nil {
		nc.Close()
		t.Error("a client without a certificate was let in")
	}
	if nc, err := nats.Connect(w.url, opts[1], opts[2]); !errors.Is(err, nats.ErrAuthorization) { // a certificate, no key
		if err == nil {
			nc.Close()
		}
		t.Errorf("a client without a key: got %v, want %v", err, nats.ErrAuthorization)
	}
}

func TestEveryEventTypeIsThePublishersOrTheNodes(t *testing.T) {
	t.Parallel()
	w := newSite(t, "account-per-cluster.conf")
	for _, typ := range []messages.EventType{
		messages.EventPhase, messages.EventTransfer, messages.EventRejoined, messages.EventFailed,
		messages.EventNeedsOperator, messages.EventVerdict, messages.EventRoleChanged,
	} {
		if err := w.attempt(t, theirs, main.Event(typ, "db3")); err != nil {
			t.Errorf("db3 may not publish its %s: %v", typ, err)
		}
	}
}
