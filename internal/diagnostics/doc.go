// Package diagnostics leaves bundles of files behind for whoever has to find out why
// a resync failed. They are bounded in size and number, readable by this process's
// user only, and hold no secrets: what is known to be one is masked wherever it
// stands, and so is what looks like one.
package diagnostics
