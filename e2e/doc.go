// Package e2e holds the end-to-end tests: several nodes in one machine, with real
// OpenZFS, PostgreSQL and NATS and the built sidecars. They run in the lab
// (lab/run), and skip elsewhere. The tests are named after the promises they hold
// the sidecars to.
package e2e
