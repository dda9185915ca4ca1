package bus

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

// eventStreamFits asks only for what correctness rests on; limits, replicas and
// storage are the operator's.
func eventStreamFits(subjects []string) func(jetstream.StreamConfig) error {
	return func(have jetstream.StreamConfig) error {
		var errs []error
		for _, want := range subjects {
			if !slices.ContainsFunc(have.Subjects, func(s string) bool { return covers(s, want) }) {
				errs = append(errs, fmt.Errorf("it does not take subject %s", want))
			}
		}
		if have.Retention != jetstream.LimitsPolicy {
			errs = append(errs, fmt.Errorf("retention is %s, want limits", have.Retention))
		}
		if have.Discard != jetstream.DiscardOld {
			errs = append(errs, errors.New("discard is new, want old: events must not stop when it is full"))
		}
		if have.Duplicates < 30*time.Second {
			errs = append(errs, fmt.Errorf("the duplicate window is %s, want 30s at least", have.Duplicates))
		}
		if have.NoAck {
			errs = append(errs, errors.New("it does not acknowledge"))
		}
		return errors.Join(append(errs, messageSizeFits(have), writable(have))...)
	}
}

// bucketFits asks that records expire: a lease without an end would outlive its
// holder.
func bucketFits(have jetstream.StreamConfig) error {
	var errs []error
	if have.MaxAge < time.Second || have.MaxAge > 10*time.Minute {
		errs = append(errs, fmt.Errorf("its TTL is %s, want 1s to 10m", have.MaxAge))
	}
	if have.MaxMsgsPerSubject < 1 {
		errs = append(errs, errors.New("it is not a key-value bucket"))
	}
	return errors.Join(append(errs, messageSizeFits(have), writable(have))...)
}

func messageSizeFits(have jetstream.StreamConfig) error {
	if have.MaxMsgSize > 0 && have.MaxMsgSize < messages.MaxDocument {
		return fmt.Errorf("the greatest message is %d bytes, want %d", have.MaxMsgSize, messages.MaxDocument)
	}
	return nil
}

func writable(have jetstream.StreamConfig) error {
	if have.Sealed || have.Mirror != nil {
		return errors.New("it is sealed or a mirror, nothing can be written to it")
	}
	return nil
}

// covers reports whether every subject that matches the pattern want, or the
// subject want itself, matches the pattern have.
func covers(have, want string) bool {
	h, w := strings.Split(have, "."), strings.Split(want, ".")
	for i, token := range h {
		switch {
		case token == ">":
			return len(w) > i
		case i >= len(w) || w[i] == ">":
			return false
		case token == "*":
		case token != w[i]:
			return false
		}
	}
	return len(h) == len(w)
}
