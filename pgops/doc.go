// Package pgops is the adapter to PostgreSQL 12 to 18: over SQL and the
// replication protocol (Database), over its programs (Server), and over the
// files of a copied data directory (Preparer). It decides nothing: it reports
// facts in the words of package messages and does what it is told, and it
// refuses what would break a promise of the design (I-1, I-2, I-4, I-9).
//
// Errors wrap the sentinels of package messages where a service must tell them
// apart, and name the GRANT, the pg_hba.conf line or the file that mends them.
package pgops
