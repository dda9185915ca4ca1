package stream

import (
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/pgresync/pgresync/messages"
)

// Defaults and fixed sizes, in bytes. Chunks above 512 KiB gave nothing, and
// more than 16 MiB in flight neither (measured on loopback; 16 MiB also cover
// 10 Gbit/s over 13 ms). Pull requests stay far below the 64 MiB that a
// subscription of nats.go holds before it drops messages.
const (
	defaultPart   = 16 << 20
	smallestPart  = 1 << 20
	defaultChunk  = 512 << 10
	defaultWindow = 192 << 20
	defaultFlight = 16 << 20
	pullRequest   = 8 << 20
	// payloadRoom is kept below the server's max_payload for headers.
	payloadRoom = 4 << 10
	// buffers is how many parts a writer holds in memory for each upload, and a reader
	// for each stream: two under way, and one that is read from the source or written
	// to the sink meanwhile.
	buffers = 3
	// partsBytes bounds the stream of announcements; one of them has ~700 bytes.
	partsBytes = 64 << 20
)

// Timing that nobody needs to set.
const (
	callTimeout = 5 * time.Second
	ackTimeout  = 30 * time.Second
	// silenceTime is how long a server may acknowledge no chunk before the part is
	// stored carefully: a leader that steps down drops what it has queued without a
	// word. carefulParts is how many parts are then, since leaders that changed once
	// may go on so.
	silenceTime  = time.Second
	carefulParts = 8
	// firstSilence is the same for one chunk alone, after which it is looked for; it
	// doubles from there.
	firstSilence = 200 * time.Millisecond
	drainTime    = 250 * time.Millisecond

	pollInterval = 500 * time.Millisecond
	// recordInterval is the most between two reports of a record; the least time to
	// live of what is made of them is 5 s.
	recordInterval = 2 * time.Second
	ackWait        = 10 * time.Second
	heartbeat      = time.Second
	pingAfter      = 5 * time.Second
	maxAge         = 24 * time.Hour
	dedupeWindow   = 10 * time.Minute
	consumerIdle   = time.Hour
	fetchIdle      = 30 * time.Second
	bucketDedupe   = 100 * time.Millisecond
	stopTimeout    = 5 * time.Second
	refetches      = 5
	goneThreshold  = 3
	// idleThreshold is how many heartbeats in a row, without a chunk that was asked
	// for, are no chance any more.
	idleThreshold = 5
)

// Config is shared by both sides. The zero value of a field means its default.
type Config struct {
	Cluster messages.ClusterName
	// PartSize is the greatest part, in bytes (16 MiB). A small estimate makes
	// smaller parts, so that a reader can start early. A writer holds three parts in
	// memory for each upload, a reader three for each stream it reads.
	PartSize int
	// ChunkSize is one message, in bytes (512 KiB). It is cut to what the server's
	// max_payload allows.
	ChunkSize int
	// InFlight bounds the bytes of one upload that were published and are not yet
	// acknowledged (16 MiB); one chunk may be.
	InFlight int
	// Window bounds the bytes of one upload that are in the bucket (192 MiB).
	Window int
	// MaxUploads bounds the uploads that exist at the same time, lingering ones
	// included (2).
	MaxUploads int
	// MaxBucket is the bucket's limit in bytes. The default, and the least, has room for
	// MaxUploads windows and three parts more for each. Reaching it is an alarm: the
	// window is what holds the source back.
	MaxBucket int64
	// Replicas is for the announcements (1), BucketReplicas for the bucket (1): the
	// bucket is disposable, and three replicas cost two thirds of the throughput.
	Replicas, BucketReplicas int
	// Storage is for both streams (file).
	Storage jetstream.StorageType
	// Compression has the server compress the bucket's files (S2). What zfs send -c
	// or -w sends does not get smaller, and slower by more than half.
	Compression bool
	// RateLimit bounds what a Store, or a Reader, moves, in bytes per second, all its
	// streams together; 0 is no limit.
	RateLimit uint64
	// Provision allows to create and change the streams; otherwise they are only checked.
	Provision bool
	// Signer signs announcements, and Publishers are the keys whose announcements are
	// believed; without any, all are. Every part's hash is under the signature of its
	// announcement, and the record names the attempt, which is drawn anew each time.
	Signer     *messages.Signer
	Publishers messages.Keys
	// Linger is how long a finished upload can still be joined (30 s), if the window
	// did not force part 0 out before.
	Linger time.Duration
	// ReaderGrace is how long a reader may leave a stored part unconsumed before it is
	// detached (10 min). Time without a server does not count.
	ReaderGrace time.Duration
	// StallTimeout is how long a stream may stand still before it is given up, to be
	// resumed (10 min): a reader without a sign of life of the writer, a writer whose
	// source gives no byte or that can store nothing. Waiting for readers, and time
	// without a connection, do not count.
	StallTimeout time.Duration
	// CutTimeout is the same for time without a connection to the server (30 min).
	CutTimeout time.Duration
}

func (c Config) withDefaults() Config {
	c.setSizes()
	setDefault(&c.MaxBucket, c.LeastBucket())
	setDefault(&c.Replicas, 1)
	setDefault(&c.Linger, 30*time.Second)
	setDefault(&c.ReaderGrace, 10*time.Minute)
	setDefault(&c.BucketReplicas, 1)
	setDefault(&c.StallTimeout, 10*time.Minute)
	setDefault(&c.CutTimeout, 30*time.Minute)
	return c
}

func (c *Config) setSizes() {
	setDefault(&c.PartSize, defaultPart)
	setDefault(&c.ChunkSize, min(defaultChunk, c.PartSize))
	setDefault(&c.InFlight, defaultFlight)
	setDefault(&c.Window, max(defaultWindow, 2*c.PartSize))
	setDefault(&c.MaxUploads, 2)
}

func setDefault[T int | int64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// LeastBucket is what all windows need, in bytes: three parts more than the window each,
// because the chunks of two parts that failed lie there until they are purged, as does
// a part that made room, and a fiftieth for headers and metadata.
func (c Config) LeastBucket() int64 {
	c.setSizes()
	return int64(c.MaxUploads) * (int64(c.Window) + 3*int64(c.PartSize)) / 50 * 51
}

// Memory is what parts take in memory at most, in bytes: those of MaxUploads
// uploads, or of as many streams that are read.
func (c Config) Memory() int64 {
	c.setSizes()
	return int64(c.MaxUploads) * buffers * int64(c.PartSize)
}

func (c Config) validate() error {
	if _, err := messages.ParseClusterName(string(c.Cluster)); err != nil {
		return fmt.Errorf("stream configuration: %w", err)
	}
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("stream configuration: "+format, args...))
		}
	}
	check(c.PartSize > 0 && c.PartSize <= messages.MaxPartSize, "part size %d: want 1 to %d bytes", c.PartSize, messages.MaxPartSize)
	check(c.ChunkSize > 0 && c.ChunkSize <= c.PartSize, "chunk size %d: want 1 to the part size, %d bytes", c.ChunkSize, c.PartSize)
	check(c.InFlight > 0, "bytes in flight %d: want at least 1", c.InFlight)
	check(c.Window >= 2*c.PartSize, "window %d: want at least two parts, %d bytes", c.Window, 2*c.PartSize)
	check(c.MaxUploads > 0, "max uploads %d: want at least 1", c.MaxUploads)
	check(c.MaxBucket >= c.LeastBucket(), "bucket limit %d: want at least %d bytes (uploads x (window + 3 parts) and 2%%)", c.MaxBucket, c.LeastBucket())
	check(c.Replicas >= 1 && c.Replicas <= 5, "replicas %d: want 1 to 5", c.Replicas)
	check(c.BucketReplicas >= 1 && c.BucketReplicas <= 5, "bucket replicas %d: want 1 to 5", c.BucketReplicas)
	check(c.Linger >= 0 && c.ReaderGrace > 0 && c.StallTimeout > 0 && c.CutTimeout > 0, "negative duration")
	return errors.Join(errs...)
}

// partSize is for a stream of about estimate bytes: at least eight parts, so
// that sending and receiving overlap.
func (c Config) partSize(estimate uint64) int {
	if estimate == 0 || estimate/8 >= uint64(c.PartSize) {
		return c.PartSize
	}
	return min(max(int(estimate/8), smallestPart), c.PartSize)
}

func (c Config) subjects() messages.Subjects { return messages.Subjects{Cluster: c.Cluster} }

// ConnectOptions are what the connection handed to NewStore or NewReader must
// have: it reconnects for ever, and it buffers nothing while it is
// disconnected, because chunks sent out of such a buffer would arrive after the
// part they belong to was given up. Use a connection of its own for the data
// plane, so that bulk data does not delay events.
func ConnectOptions() []nats.Option {
	return []nats.Option{
		nats.MaxReconnects(-1),
		nats.ReconnectBufSize(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 250*time.Millisecond),
		nats.PingInterval(10 * time.Second),
	}
}

// newConsumerName is for the durable consumer that the writer makes on
// Subjects.PartsStream for one reader of one attempt. Only the writer and that
// reader know it: NATS permissions have no wildcard for a part of a token, so
// that a name which could be guessed would be open to every reader.
func newConsumerName(attempt messages.MessageID, node messages.NodeName) string {
	return consumersOf(attempt) + string(node) + "_" + rand.Text()
}

// consumersOf is how the names of all consumers of one attempt begin.
func consumersOf(attempt messages.MessageID) string { return consumerPrefix + string(attempt) + "_" }

const consumerPrefix = "part_"
