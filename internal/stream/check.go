package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

// Check is what Verify found of one upload.
type Check struct {
	Stream  messages.StreamID
	Attempt messages.MessageID
	// Parts were announced and are stored still; Good of them are intact, and Bytes
	// their size. The parts before First were consumed by all readers and are gone.
	First, Parts, Good int
	Bytes              uint64
	// Ended is set when the upload is complete, Aborted to its writer's words when it
	// never will be.
	Ended   bool
	Aborted string
	// Bad says what is wrong, one sentence each.
	Bad []string
}

// Verify reads every part of a stream that is stored, as a reader would, and
// leaves no trace: no consumer of the announcements, no acknowledgement. report,
// if not nil, is called after each part. There is one Check per upload of the
// stream; an error that wraps messages.ErrNotFound when there is none.
func (r *Reader) Verify(ctx context.Context, id messages.StreamID, report func(Check)) ([]Check, error) {
	v := &verifier{fetch: newFetcher(r.js, r.ns, nil), ns: r.ns, keys: r.cfg.Publishers, report: report}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(v.fetch.used)
	wg.Go(func() { v.fetch.release(ctx) })
	subjects, err := v.announced(ctx, r, id)
	if err != nil {
		return nil, fmt.Errorf("verify stream %s: %w", id, err)
	}
	if len(subjects) == 0 {
		return nil, fmt.Errorf("verify stream %s: %w: no part of it is stored; `pgresync streams` lists those that are", id, messages.ErrNotFound)
	}
	var checks []Check
	for attempt, of := range subjects {
		c, err := v.upload(ctx, id, attempt, of)
		if err != nil {
			return nil, fmt.Errorf("verify stream %s: %w", id, err)
		}
		checks = append(checks, c)
	}
	slices.SortFunc(checks, func(a, b Check) int { return strings.Compare(string(a.Attempt), string(b.Attempt)) })
	return checks, nil
}

type verifier struct {
	fetch  *fetcher
	ns     messages.Subjects
	keys   messages.Keys
	stream jetstream.Stream
	report func(Check)
	buf    []byte
}

// announced lists the subjects of the stream's announcements by upload, in order.
func (v *verifier) announced(ctx context.Context, r *Reader, id messages.StreamID) (map[messages.MessageID][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var err error
	if v.stream, err = r.js.Stream(ctx, v.ns.PartsStream()); err != nil {
		return nil, fmt.Errorf("look up JetStream stream %s: %w", v.ns.PartsStream(), err)
	}
	prefix := strings.TrimSuffix(v.ns.Parts(), ">") + string(id) + "."
	info, err := v.stream.Info(ctx, jetstream.WithSubjectFilter(prefix+">"))
	if err != nil {
		return nil, fmt.Errorf("list its announcements: %w", err)
	}
	out := map[messages.MessageID][]string{}
	for subject := range info.State.Subjects {
		attempt, _, _ := strings.Cut(strings.TrimPrefix(subject, prefix), ".")
		out[messages.MessageID(attempt)] = append(out[messages.MessageID(attempt)], subject)
	}
	for _, subjects := range out {
		slices.Sort(subjects) // parts have leading zeros, and "end" sorts before "part"
	}
	return out, nil
}

func (v *verifier) upload(ctx context.Context, id messages.StreamID, attempt messages.MessageID, subjects []string) (Check, error) {
	c := Check{Stream: id, Attempt: attempt, First: -1}
	seq := sequence{rec: messages.StreamRecord{Stream: id, Attempt: attempt}}
	var end *messages.StreamEnd
	for _, subject := range subjects {
		body, err := v.read(ctx, subject)
		switch {
		case errors.Is(err, messages.ErrNotFound):
			continue // consumed since it was listed
		case err != nil:
			return c, err
		case strings.HasSuffix(subject, ".end"):
			end = &messages.StreamEnd{}
			if err := v.decode(subject, body, end); err != nil {
				c.Bad, end = append(c.Bad, err.Error()), nil
			}
			continue
		}
		if err := v.part(ctx, &c, subject, body, &seq); err != nil {
			return c, err
		}
		if v.report != nil {
			v.report(c)
		}
	}
	c.finish(end, &seq)
	return c, nil
}

// part checks one part and that it continues seq.
func (v *verifier) part(ctx context.Context, c *Check, subject string, body []byte, seq *sequence) error {
	p := &messages.Part{}
	if err := v.decode(subject, body, p); err != nil {
		c.Bad = append(c.Bad, err.Error())
		return nil
	}
	err := v.fetchPart(ctx, subject, p)
	switch {
	case errors.Is(err, messages.ErrNotFound):
		return nil
	case err != nil && !errors.Is(err, ErrBadPart):
		return err
	}
	if c.Parts++; c.First < 0 {
		c.First = p.Index
		if p.Index > 0 { // what it follows is consumed
			seq.next, seq.size, seq.chain = p.Index+1, p.Offset+p.Size, p.Chain
		}
	}
	if err == nil && seq.next != p.Index+1 {
		err = seq.part(p)
	}
	if err != nil {
		c.Bad = append(c.Bad, fmt.Sprintf("part %d: %v", p.Index, err))
		seq.next, seq.size, seq.chain = p.Index+1, p.Offset+p.Size, p.Chain
		return nil
	}
	c.Good++
	c.Bytes += p.Size
	return nil
}

// decode believes what a reader would.
func (v *verifier) decode(subject string, body []byte, d messages.Document) error {
	doc, _, err := v.keys.Open(subject, body)
	if err != nil {
		return err
	}
	return messages.Decode(doc, d)
}

func (c *Check) finish(end *messages.StreamEnd, seq *sequence) {
	switch {
	case end == nil:
		return
	case end.Error != "":
		c.Aborted = end.Error
		return
	}
	seq.rec.To, seq.rec.From = end.To, end.From // the stream's id stands for them
	if err := seq.end(end); err != nil && c.Parts > 0 {
		c.Bad = append(c.Bad, err.Error())
	}
	c.Ended = true
}

// fetchPart tries more than once. A part is removed before its announcement: one
// that is gone is bad only if it stays announced.
func (v *verifier) fetchPart(ctx context.Context, subject string, p *messages.Part) error {
	if uint64(cap(v.buf)) < p.Size {
		v.buf = make([]byte, p.Size)
	}
	var b backoff
	for try := 0; ; try++ {
		err := v.fetch.fetch(ctx, p, v.buf[:p.Size], func() {})
		if err == nil {
			return nil
		}
		if _, gone := v.read(ctx, subject); errors.Is(gone, messages.ErrNotFound) {
			return gone
		}
		if try >= refetches {
			return fmt.Errorf("part %s: %w", p.Object, err)
		}
		if !b.wait(ctx) {
			return context.Cause(ctx)
		}
	}
}

func (v *verifier) read(ctx context.Context, subject string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	m, err := v.stream.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, fmt.Errorf("%s: %w", subject, messages.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", subject, err)
	}
	return m.Data, nil
}
