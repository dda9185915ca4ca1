package stream

import (
	"errors"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// ErrBadPart says that a stored part does not match its announcement, several
// fetches long. Nothing of it reached the sink. Errors that wrap it wrap
// messages.ErrStreamCut too.
var ErrBadPart = errors.New("stored part does not match its announcement")

// errNoReader ends an upload that nobody reads any more.
var errNoReader = errors.New("no reader is left")

// errGaveUp ends what is repeated after a transfer and does not come about.
var errGaveUp = errors.New("given up")

// isLost is what a stream looks like that is not there: a server that lost its store
// says so, or nobody takes what is published.
func isLost(err error) bool {
	return errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrNoStreamResponse)
}

// API error codes that nats.go has no name for (nats-server errors.json).
const (
	codeStreamInvalidConfig    jetstream.ErrorCode = 10052
	codeStreamUpdate           jetstream.ErrorCode = 10069
	codeInsufficientResources  jetstream.ErrorCode = 10023 // max_file_store reached
	codeInsufficientStorage    jetstream.ErrorCode = 10047 // max_bytes above the account's or server's limit
	codeMaximumBytes           jetstream.ErrorCode = 10077 // the stream is full, discard new
	codeMaxBytesRequired       jetstream.ErrorCode = 10113
	codeStreamMaxBytesExceeded jetstream.ErrorCode = 10122
)

func hasCode(err error, codes ...jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	var js jetstream.JetStreamError
	if errors.As(err, &js) && js.APIError() != nil {
		api = js.APIError()
	} else if !errors.As(err, &api) {
		return false
	}
	return slices.Contains(codes, api.ErrorCode)
}
