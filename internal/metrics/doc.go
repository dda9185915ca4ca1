// Package metrics shows to Prometheus what the services know. They do not know of
// it: it is told their events, asks them for their state at each scrape, and is
// given what costs a command or a query by probes that run beside the scrapes.
//
// Times are in seconds, sizes in bytes; instants are Unix times, so that ages are
// computed where they are asked for.
package metrics
