// Package messages is the vocabulary of pgresync and its wire contract: the
// value types every other package speaks (LSN, GUID, Dataset, Manifest, …), the
// documents that travel over NATS, and the names of the subjects they travel
// on. It imports the standard library only and nothing of this module, so that
// adapters can share words without knowing each other.
//
// Every document is JSON with a version field "v". Decode is strict: an unknown
// field, a newer version, a missing required field or an oversized body is an
// error and nothing is acted upon (see docs/adr/0003-strict-documents.md). 64-bit numbers are
// JSON strings, because many JSON readers hold numbers as float64.
package messages
