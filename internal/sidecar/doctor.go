package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"runtime"
	"time"

	"github.com/mattn/go-isatty"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/internal/daemon/settings"
	"github.com/pgresync/pgresync/internal/doctor"
	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/pgops"
	"github.com/pgresync/pgresync/zfsops"
)

// Examination is one run of doctor: what both sidecars gather alike.
type Examination struct {
	Facts  doctor.Facts
	common *settings.Common
	groups []string
}

const (
	// examinationBound ends an examination in which something hangs.
	examinationBound = 2 * time.Minute
	// dialBound is for the broker, which is tried again and again otherwise.
	dialBound = 5 * time.Second
)

// DoctorVerb is the doctor argument of a sidecar; gather fills in the facts.
func DoctorVerb[C any](gather func(ctx context.Context, cfg C) *Examination) settings.Verb[C] {
	return settings.Verb[C]{
		Name: "doctor", Usage: "[-o json]", Help: "say whether this node is ready, before anything is switched on",
		Run: func(ctx context.Context, cfg C, args []string, stdout io.Writer) error {
			asJSON, err := doctorArgs(args)
			if err != nil {
				return daemon.WithExitCode(err, daemon.ExitUsage)
			}
			ctx, cancel := context.WithTimeout(ctx, examinationBound)
			defer cancel()
			return present(stdout, doctor.Examine(&gather(ctx, cfg).Facts), asJSON)
		},
	}
}

func doctorArgs(args []string) (asJSON bool, err error) {
	switch {
	case len(args) == 0:
		return false, nil
	case len(args) == 2 && (args[0] == "-o" || args[0] == "--output") && (args[1] == "json" || args[1] == "table"):
		return args[1] == "json", nil
	}
	return false, fmt.Errorf("doctor: unexpected arguments %q; want nothing, or -o json", args)
}

func present(w io.Writer, findings []doctor.Finding, asJSON bool) error {
	err := doctor.WriteJSON
	if !asJSON {
		err = func(w io.Writer, f []doctor.Finding) error { return doctor.Write(w, f, colours(w)) }
	}
	if err := err(w, findings); err != nil {
		return err
	}
	if !doctor.Ready(findings) {
		return daemon.WithExitCode(errors.New("doctor: this node is not ready"), daemon.ExitPrerequisite)
	}
	return nil
}

// colours follows no-color.org.
func colours(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd()) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// Examine begins an examination.
func Examine(c *settings.Common, sidecar string) *Examination {
	e := &Examination{common: c, Facts: doctor.Facts{
		Sidecar: sidecar, Cluster: c.Cluster, Node: c.Node, Dataset: c.Dataset, OS: runtime.GOOS, Root: os.Geteuid() == 0,
	}}
	u, err := user.Current()
	if err != nil {
		e.Facts.User = fmt.Sprint(os.Geteuid()) // zfs allow takes numbers too
		return e
	}
	e.Facts.User = u.Username
	ids, _ := u.GroupIds() // without them a delegation by group is not seen, and asked for
	for _, id := range ids {
		if g, err := user.LookupGroupId(id); err == nil {
			e.groups = append(e.groups, g.Name)
		}
	}
	return e
}

// Postgres asks the server, and where has it the role's privileges.
func (e *Examination) Postgres(ctx context.Context, db *pgops.Database, privileges func(context.Context) ([]string, error)) {
	p := &e.Facts.Postgres
	r, err := db.Readiness(ctx)
	if err != nil {
		p.Problem = err.Error()
		return
	}
	p.Settings = &doctor.Settings{
		WALLevel: r.WALLevel, HotStandby: r.HotStandby, MaxSenders: r.MaxSenders, Senders: r.Senders,
		MaxSlots: r.MaxSlots, Slots: r.Slots, MaxSlotKeepMB: r.MaxSlotKeepMB,
	}
	p.DataDir, p.ConfigFile = r.DataDir, r.ConfigFile
	if p.Grants, err = privileges(ctx); err != nil {
		p.Problem = err.Error()
		return
	}
	id, err := db.Identity(ctx)
	switch {
	case err == nil:
		p.Identity = &id
	case len(p.Grants) > 0:
		// It answers; what is missing to learn more is said by the grants.
		p.Identity = &messages.Identity{Role: messages.RoleDown, Version: r.Version}
		if r.InRecovery {
			p.Identity.Role = messages.RoleStandby
		} else {
			p.Identity.Role = messages.RolePrimary
		}
	default:
		p.Problem = err.Error()
	}
}

// ZFS lists the pool and the live tree.
func (e *Examination) ZFS(ctx context.Context, zfs *zfsops.ZFS) {
	z := &e.Facts.ZFS
	caps, err := zfs.Probe(ctx)
	if err == nil {
		z.Version = caps.Userland.String()
		z.Pool, err = zfs.Pool(ctx, e.common.Dataset.Pool())
	}
	if err == nil {
		z.Live, err = zfs.List(ctx, e.common.Dataset)
		if errors.Is(err, messages.ErrNotFound) {
			err = nil
		}
	}
	if err != nil {
		z.Problem = err.Error()
		return
	}
	z.Native = map[messages.Dataset]map[string]string{}
	for _, d := range z.Live {
		// A property that cannot be read is not one that hurts.
		z.Native[d.Name], _ = zfs.Native(ctx, d.Name, doctor.PropertiesThatMatter()...)
	}
	if e.Facts.Root || len(z.Live) == 0 {
		return
	}
	d, err := zfs.Delegations(ctx, e.common.Dataset)
	if err != nil {
		z.MissingProblem = err.Error()
		return
	}
	z.Missing = d.Missing(e.Facts.User, e.groups, doctor.Needed())
}

// NATS connects, tries what the sidecar needs, and asks the other sidecars. parts
// looks at what the data plane needs, if not nil. The link, if there is one, is the
// caller's to close.
func (e *Examination) NATS(ctx context.Context, cfg bus.Config, parts func(context.Context, *bus.Bus) error) *bus.Bus {
	n := &e.Facts.NATS
	n.Creates, cfg.Provision = cfg.Provision, false
	dial, cancel := context.WithTimeout(ctx, dialBound)
	defer cancel()
	link, err := bus.Connect(dial, cfg)
	if err != nil {
		n.Problem = err.Error()
		return nil
	}
	a, err := link.Account(ctx)
	if err != nil {
		n.Problem = err.Error()
		return link
	}
	n.Server, n.RoundTrip, n.MaxPayload, n.NeedPayload = a.Server, a.RoundTrip, a.MaxPayload, a.NeedPayload
	n.Store, n.StoreUsed, n.NeedStore = a.Store, a.StoreUsed, n.NeedStore+a.NeedStore
	if a.JetStream != nil {
		n.JetStreamProblem = a.JetStream.Error()
		return link
	}
	e.try(ctx, link)
	e.resources(ctx, link, parts)
	e.peers(ctx, link)
	return link
}

func (e *Examination) try(ctx context.Context, link *bus.Bus) {
	publisher := e.common.Node
	if lease, _, err := link.Lease(ctx); err == nil {
		publisher = lease.Node
	}
	publish, subscribe := link.Needs(publisher, e.Facts.NATS.Creates)
	for verb, subjects := range map[string][]string{"publish": publish, "subscribe": subscribe} {
		attempt := link.AttemptPublish
		if verb == "subscribe" {
			attempt = link.AttemptSubscribe
		}
		for _, s := range subjects {
			if err := attempt(ctx, s); errors.Is(err, messages.ErrPermission) {
				e.Facts.NATS.Denied = append(e.Facts.NATS.Denied, doctor.Denial{Verb: verb, Subject: s})
			}
		}
	}
}

func (e *Examination) resources(ctx context.Context, link *bus.Bus, parts func(context.Context, *bus.Bus) error) {
	err := link.Provision(ctx)
	if parts != nil {
		err = errors.Join(err, parts(ctx, link))
	}
	if err != nil {
		e.Facts.NATS.Resources = err.Error()
		e.Facts.NATS.Missing = errors.Is(err, messages.ErrNotFound) && !errors.Is(err, messages.ErrRefused)
	}
}

// peers asks every sidecar of another node for its status; what it says of its
// clock lies between our question and its answer.
func (e *Examination) peers(ctx context.Context, link *bus.Bus) {
	present, err := link.Nodes(ctx)
	if err != nil {
		// Or there is no bucket yet: then nobody is there.
		e.Facts.PeersDenied = errors.Is(err, messages.ErrPermission)
		return
	}
	for _, st := range present {
		if st.Node == e.common.Node {
			continue
		}
		p := doctor.Peer{Node: st.Node, Sidecar: st.Sidecar, Version: st.Version, Identity: st.Identity}
		asked := time.Now()
		if reply, err := link.Operate(ctx, st.Node, st.Sidecar, messages.VerbStatus, messages.OperatorRequest{}); err == nil && reply.Status != nil {
			took := time.Since(asked)
			p.Skew, p.Uncertainty = reply.Status.At.Sub(asked.Add(took/2)), took/2
			p.Identity = reply.Status.Identity
		}
		e.Facts.Peers = append(e.Facts.Peers, p)
	}
}
