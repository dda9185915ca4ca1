package primary

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/messages"
)

// minutely runs once every minute, and for no longer than that, until ctx is done.
func minutely(ctx context.Context, once func(ctx context.Context) error, c *complaint) error {
	tick := time.NewTicker(upkeepEvery)
	defer tick.Stop()
	for {
		bounded, cancel := context.WithTimeout(ctx, upkeepEvery)
		err := once(bounded)
		cancel()
		if ctx.Err() == nil {
			c.say(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// complaint does not repeat itself.
type complaint struct {
	log   zerolog.Logger
	about string
	said  string
}

// say: what does not run is no news, it may be down, or refuse, for days.
func (c *complaint) say(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == c.said {
		return
	}
	c.said = text
	level := zerolog.WarnLevel
	if err == nil || errors.Is(err, messages.ErrUnavailable) {
		level = zerolog.DebugLevel
	}
	c.log.WithLevel(level).Err(err).Msg(c.about)
}
