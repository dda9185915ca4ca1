package settings

import (
	"errors"
	"fmt"
	"slices"
)

// What may be believed without a signature, as PGRESYNC_UNSIGNED names it.
const (
	unsignedDocuments = "documents"
	unsignedTriggers  = "triggers"
)

// checkUnsigned wants one clear word about each kind of document: the keys whose
// signature it needs, or that it needs none.
func (c *Common) checkUnsigned() error {
	var complaints []error
	for _, word := range c.Unsigned {
		if word != unsignedDocuments && word != unsignedTriggers {
			complaints = append(complaints, fmt.Errorf(Prefix+"_UNSIGNED: %q: want %s, %s or both", word, unsignedDocuments, unsignedTriggers))
		}
	}
	for _, kind := range []struct {
		word, keys, whose string
		pinned            bool
	}{
		{unsignedDocuments, "TRUSTED_KEYS", "the nodes that may publish", len(c.TrustedKeys) > 0},
		{unsignedTriggers, "TRIGGER_KEYS", "the operators who are obeyed", len(c.TriggerKeys) > 0},
	} {
		unsigned := slices.Contains(c.Unsigned, kind.word)
		if !kind.pinned && !unsigned {
			complaints = append(complaints, fmt.Errorf(Prefix+"_%s: needed, and not set: the public nkeys of %s; where all who may write to the NATS account may be believed, "+
				Prefix+"_UNSIGNED=%s says so instead", kind.keys, kind.whose, kind.word))
		}
		if kind.pinned && unsigned {
			complaints = append(complaints, fmt.Errorf(Prefix+"_UNSIGNED: it names %s, and "+Prefix+"_%s is set: want one of them", kind.word, kind.keys))
		}
	}
	return errors.Join(complaints...)
}
