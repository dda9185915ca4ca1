// Package bus is the control plane on NATS: events and triggers on one
// JetStream stream, the publisher's lease, stream records and presence in
// key-value buckets, and the publisher's request/reply services. Besides
// internal/stream it is the only package that speaks NATS.
//
// The server is expected to go away at any moment: every call has a deadline,
// loops resume by themselves, and what a call could not deliver is the caller's
// error, never silence. Nothing here needs a server newer than 2.9.
//
// Errors wrap the sentinels of package messages: ErrUnavailable (the server or
// the publisher does not answer now; try again), ErrPermission (NATS denied a
// subject or the login), ErrNotFound, ErrRefused, ErrLeaseLost, ErrNotPrimary,
// ErrBadDocument.
package bus
