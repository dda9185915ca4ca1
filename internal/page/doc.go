// Package page is the sidecar's status page: one document without anything from
// elsewhere, which follows the cluster by server-sent events. It only reads.
//
// Everything it shows came over the network and is text to it: names are never
// markup, neither here nor in the browser, and the content security policy admits
// the two inline blocks by their hashes and nothing else.
//
// It asks NATS only while somebody looks.
package page
