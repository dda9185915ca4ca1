package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/pgresync/pgresync/messages"
)

// Codes beyond those of package messages, for sentinels that a standby acts
// upon.
const (
	// CodeTokenInvalid: the resume token is of no use; discard the partial receive.
	CodeTokenInvalid messages.ErrorCode = "token-invalid"
	// CodeQueued: all places for streams are taken; the standby's turn comes if it asks
	// again.
	CodeQueued messages.ErrorCode = "queued"
	// CodeNoSpace: the publisher's pool or the bucket is full.
	CodeNoSpace messages.ErrorCode = "no-space"
)

// codes pairs each sentinel with its code, in both directions. On the way out
// the first match counts: what is more specific stands higher.
var codes = []struct {
	sentinel error
	code     messages.ErrorCode
}{
	{messages.ErrTokenInvalid, CodeTokenInvalid},
	{messages.ErrBadDocument, messages.CodeBadRequest},
	{messages.ErrNotPrimary, messages.CodeNotPrimary},
	{messages.ErrLeaseLost, messages.CodeNotPrimary},
	{messages.ErrRefused, messages.CodeRefused},
	{messages.ErrNotFound, messages.CodeNotFound},
	{messages.ErrNoSpace, CodeNoSpace},
	{messages.ErrQueued, CodeQueued},
	{messages.ErrUnavailable, messages.CodeUnavailable},
	{messages.ErrBusy, messages.CodeUnavailable},
	{context.DeadlineExceeded, messages.CodeUnavailable},
	{context.Canceled, messages.CodeUnavailable},
}

func codeOf(err error) messages.ErrorCode {
	for _, c := range codes {
		if errors.Is(err, c.sentinel) {
			return c.code
		}
	}
	return messages.CodeInternal
}

func sentinelOf(code messages.ErrorCode) error {
	for _, c := range codes {
		if c.code == code {
			return c.sentinel
		}
	}
	return nil
}

// RemoteError is what a publisher answered instead of a result. It unwraps to
// the sentinel its code stands for, to nothing for "internal" and codes of newer
// builds.
type RemoteError struct {
	Node     messages.NodeName
	Endpoint string
	Code     messages.ErrorCode
	// Text and Remedy are the publisher's words.
	Text, Remedy string
}

func (e *RemoteError) Error() string {
	s := fmt.Sprintf("ask %s for %s: %s: %s", e.Node, e.Endpoint, e.Code, e.Text)
	if e.Remedy != "" {
		s += " (" + e.Remedy + ")"
	}
	return s
}

func (e *RemoteError) Unwrap() error { return sentinelOf(e.Code) }

// Retryable reports whether the same request can succeed later.
func (e *RemoteError) Retryable() bool {
	return e.Code == messages.CodeUnavailable || e.Code == CodeQueued || e.Code == messages.CodeNotPrimary || e.Code == CodeNoSpace
}

// maxErrorText is in bytes; an error with a child's whole stderr in it must not
// outgrow a header.
const maxErrorText = 2048

// errorReply describes err for the wire. An error that has a Remedy method
// contributes it.
func errorReply(err error) *messages.ErrorReply {
	reply := &messages.ErrorReply{V: messages.Version, Code: codeOf(err), Error: line(err.Error())}
	var r interface{ Remedy() string }
	if errors.As(err, &r) {
		reply.Remedy = line(r.Remedy())
	}
	return reply
}

// line makes a text fit for a header: one line, bounded, never empty.
func line(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), maxErrorText)], "")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	return orDefault(strings.TrimSpace(s), "unknown error")
}
