// Package settings reads the configuration of a command from PGRESYNC_*
// environment variables into a struct, checks it whole, and describes it: the
// text of --help, of check-config and of docs/configuration.md all come from the
// struct's tags, so that they cannot disagree. It also holds the settings that
// both sidecars share.
//
// A field's variable is its path in words: NATS.StoreDir is PGRESYNC_NATS_STORE_DIR
// (fields of several words carry split_words:"true"). Further tags:
//
//	desc      what it is for, one sentence
//	default   the value when the variable is unset or empty
//	computed  how the default is found when it is not a constant
//	needed    "true": without a value the configuration is refused
//	oneof     the allowed values, separated by spaces
//	min, max  bounds of an int, Size, Rate or time.Duration
package settings
