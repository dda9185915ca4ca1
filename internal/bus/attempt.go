package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

const (
	// attemptWait is for an answer. A server answers what goes to a stream at once,
	// and a denied publish never.
	attemptWait = time.Second
	// nowhere is no stream's name: what expects to be stored there is stored nowhere,
	// but judged by the server's permissions all the same.
	nowhere = "PGRESYNC_DOCTOR_STORES_NOTHING"
)

// AttemptPublish tells whether we may publish on a subject, without storing
// anything: nil, or ErrPermission. A subject that nobody listens on is permitted.
func (b *Bus) AttemptPublish(ctx context.Context, subject string) error {
	begin := time.Now()
	m := &nats.Msg{Subject: subject, Header: nats.Header{jetstream.ExpectedStreamHeader: {nowhere}}}
	err := withDeadline(ctx, attemptWait, func(ctx context.Context) error {
		_, err := b.control.nc.RequestMsgWithContext(ctx, m)
		return err
	})
	switch err = b.explain(begin, err); {
	case errors.Is(err, messages.ErrPermission):
		return fmt.Errorf("publish on %s: %w", subject, err)
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, context.DeadlineExceeded):
		return nil // nobody is there, or nobody answers such a thing
	case err != nil:
		return fmt.Errorf("publish on %s: %w", subject, err)
	}
	return nil
}

// AttemptSubscribe tells whether we may subscribe to a subject: nil, or
// ErrPermission. It is no member of a queue, so that it takes nothing away.
func (b *Bus) AttemptSubscribe(ctx context.Context, subject string) error {
	sub, err := b.control.nc.SubscribeSync(subject)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", subject, classify(err))
	}
	defer func() { _ = sub.Unsubscribe() }() // it ends with the connection too
	// The server answers in order: a refusal is here before the answer to the flush.
	if err := withDeadline(ctx, callTimeout, b.control.nc.FlushWithContext); err != nil {
		return fmt.Errorf("subscribe to %s: %w", subject, classify(err))
	}
	_, err = sub.NextMsg(time.Millisecond)
	if err = classify(err); errors.Is(err, messages.ErrPermission) {
		return fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	return nil
}

// Needs lists the subjects that this sidecar publishes on and subscribes to, one
// of each kind. Among those it publishes on is no request that does something when
// it comes without a body: an empty request to create is refused by the server.
func (b *Bus) Needs(publisher messages.NodeName, creates bool) (publish, subscribe []string) {
	n, node, names := b.names, b.cfg.Node, b.names.Bucket()
	id, attempt := messages.StreamID("0"), messages.MessageID("0")
	api := jetstream.DefaultAPIPrefix
	publish = []string{
		n.Event(messages.EventVerdict, node),
		"$KV." + n.PresenceBucket() + "." + messages.NodeKey(node, b.cfg.Sidecar),
		api + "STREAM.INFO." + n.Stream(),
		api + "STREAM.INFO.KV_" + names,
		api + "STREAM.INFO.KV_" + n.PresenceBucket(),
	}
	subscribe = []string{b.cfg.InboxPrefix + ".>", n.Operator(node, b.cfg.Sidecar, ">"), "$SRV.PING"}
	if b.cfg.Sidecar != messages.SidecarPrimary {
		return append(publish,
			n.Service(publisher, "facts", node), n.Consumed(id, attempt),
			api+"DIRECT.GET.KV_"+names+".$KV."+names+"."+messages.LeaseKey,
			api+"CONSUMER.CREATE."+n.Stream()+".secondary-"+string(node)+"."+n.TriggerResync(string(node)),
			api+"CONSUMER.CREATE.OBJ_"+names+".x.$O."+names+".C.x",
		), subscribe
	}
	publish = append(publish,
		"$KV."+names+"."+messages.LeaseKey, "$KV."+names+"."+messages.StreamKey(id),
		"$O."+names+".C.x", "$O."+names+".M.x", n.Part(id, attempt, 0), n.StreamEnd(id, attempt),
		api+"STREAM.INFO."+n.PartsStream(), api+"STREAM.INFO.OBJ_"+names,
		api+"CONSUMER.CREATE."+n.Stream()+".primary."+n.TriggerSnapshot(),
	)
	if creates {
		publish = append(publish, api+"STREAM.CREATE."+n.Stream(), api+"STREAM.CREATE.OBJ_"+names)
	}
	return publish, append(subscribe, n.ServiceOf(node, "facts"), n.Consumed(id, attempt))
}

// Account is what the server says of itself and of our account.
type Account struct {
	Server     string
	MaxPayload int64
	RoundTrip  time.Duration
	// Store and StoreUsed are bytes of file storage; Store is -1 without a limit, or
	// when we may not know it.
	Store, StoreUsed int64
	// NeedPayload and NeedStore are what documents, streams and buckets need; parts
	// come on top.
	NeedPayload, NeedStore int64
	// JetStream is why there is none, nil when there is.
	JetStream error
}

// Account asks.
func (b *Bus) Account(ctx context.Context) (Account, error) {
	nc := b.control.nc
	a := Account{Server: nc.ConnectedServerVersion(), MaxPayload: nc.MaxPayload(), NeedPayload: messages.MaxDocument + msgOverhead, NeedStore: b.cfg.MaxEventBytes + 2*stateBytes}
	var err error
	if a.RoundTrip, err = nc.RTT(); err != nil {
		return a, fmt.Errorf("measure the round trip to %s: %w", b.cfg.hosts(), classify(err))
	}
	var info *jetstream.AccountInfo
	a.JetStream = b.call(ctx, func(ctx context.Context) error {
		info, err = b.js.AccountInfo(ctx)
		return err
	})
	switch {
	case errors.Is(a.JetStream, messages.ErrPermission):
		// Nothing of ours needs to know the account's limits.
		a.JetStream, a.Store = nil, -1
	case a.JetStream == nil:
		a.Store, a.StoreUsed = info.Limits.MaxStore, int64(info.Store)
	}
	return a, nil
}
