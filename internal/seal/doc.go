// Package seal encrypts streams to the keys of the standbys that may read them,
// so that the broker and its disks see ciphertext only.
//
// A sealed stream is one age file (age-encryption.org/v1): its key is drawn anew
// for each upload and wrapped once for each recipient, and its payload is
// authenticated in pieces of 64 KiB under counting nonces, the last one marked.
// Parts of another upload, or in another order, or fewer of them, do not open. The
// plaintext begins with what the stream is, so that a whole upload cannot be
// passed off as another one either.
//
// It hides and binds; it does not say who sealed: a recipient's key is public.
// That is what the signatures over parts are for.
package seal
