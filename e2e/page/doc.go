// Package page looks at the status page with a real browser. It has no code beyond
// its tests, which `make test-page` runs.
package page
