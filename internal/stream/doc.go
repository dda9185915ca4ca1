// Package stream is the data plane: it moves one zfs send stream from the
// publisher to any number of readers through a NATS Object Store bucket.
//
// The stream is cut into parts. Each part is one object in ADR-20's layout, so
// that `nats object ls|info|get` read it, but neither ObjectStore.Put nor Get
// of nats.go moves the bytes: Put reports success for objects it corrupted
// during a leader change, and Get hands every byte out before it finds the
// digest wrong. Parts are announced (messages.Part) on a JetStream stream, on
// which every reader of every upload has a durable consumer, and an upload
// ends with messages.StreamEnd.
//
// What the package promises:
//
//   - A reader's sink sees a byte only after the whole part that holds it was
//     verified: size, SHA-256, place in the stream, chain of hashes.
//   - It sees io.EOF only after a StreamEnd that agrees with all of that and
//     with the record that was asked for. The writer publishes such an end, and
//     the announcement of the last part, only after its source ended with
//     io.EOF, which a child's output gives only when the child exited 0.
//   - The bytes of two runs of the source are never mixed: each run is an
//     attempt with an id of its own, and parts of another attempt are refused.
//   - The source is not read while unconsumed parts fill the window, so a slow
//     reader costs the publisher a bounded amount of disk and memory; a reader
//     that stands still is detached.
//
// The publisher's side is Hub (uploads and who reads them) over Store (names,
// limits and objects in JetStream). The reader's side is Reader. The consumers'
// acknowledgement floors in JetStream are the truth about what was consumed;
// the core NATS messages on Subjects.Consumed are hints that make the writer
// look at once, and the reader's question whether the writer lives.
package stream
