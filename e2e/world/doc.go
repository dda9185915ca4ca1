// Package world builds a small data centre inside one machine, for the end-to-end
// tests and the demonstration: nodes that each have a network namespace with an
// address of their own, a mount namespace (so that all may mount at the same
// paths) and a ZFS pool in a file, joined by a bridge.
//
// It needs root, OpenZFS, PostgreSQL's programs and the built commands of this
// module; lab/ provides all of that. Whatever is started or made here is ended or
// removed by World.Close.
package world
