package messages

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"fmt"
	"io"
)

// The ZFS user properties of pgresync. User properties are inherited by children
// (zfsprops(7)), so a mark counts only where its source is local.
const (
	// PropCluster marks a dataset that pgresync made, with the cluster's name.
	PropCluster = "pgresync:cluster"
	// PropID is the snapshot id: on snapshots of ours, and on the datasets that were
	// cloned from one.
	PropID = "pgresync:id"
	// PropState is StateBracketing or StateComplete on a publisher's snapshots.
	PropState = "pgresync:state"
	// PropManifest holds a manifest packed by PackProperty.
	PropManifest = "pgresync:manifest"
	// PropJournal holds a standby's journal, on its lineage root.
	PropJournal = "pgresync:journal"
	// PropStandbys is what a publisher knows of the standbys' bases, on its live dataset.
	PropStandbys = "pgresync:standbys"
	// PropResync is the resync that made a live, next or old dataset.
	PropResync = "pgresync:resync"
	// PropSeeded is the resync that made a live dataset for somebody else to start
	// PostgreSQL on: its slot and its connection are not ours.
	PropSeeded = "pgresync:seeded"
	// PropReplaced is the time a dataset that was here before us was set aside.
	PropReplaced = "pgresync:replaced"
	// PropPaused holds a PauseRecord while a node does nothing by itself: on a
	// standby's lineage root, and on a publisher's live dataset.
	PropPaused = "pgresync:paused"
	// PropDiverged is the time diverged data was set aside.
	PropDiverged = "pgresync:diverged"
	// PropMountpoint is where a staged dataset will be mounted: settled once, because
	// an inherited mount point of the old tree changes with its name.
	PropMountpoint = "pgresync:mountpoint"
	// PropCanMount remembers what canmount was before a copy was set aside.
	PropCanMount = "pgresync:canmount"
	// PropDiscarded marks a copy that is being destroyed: it is whole no more, perhaps.
	PropDiscarded = "pgresync:discarded"
)

// DatasetMarks are the user properties above that file systems have.
func DatasetMarks() []string {
	return []string{
		PropCluster, PropID, PropManifest, PropJournal, PropStandbys, PropResync, PropSeeded, PropReplaced, PropPaused, PropDiverged,
		PropMountpoint, PropCanMount, PropDiscarded,
	}
}

// The values of PropState.
const (
	StateBracketing = "bracketing"
	StateComplete   = "complete"
)

// HoldTag is on every snapshot that a publisher keeps (zfs-hold(8)).
const HoldTag = "pgresync"

// MaxProperty is the longest user property value in bytes that OpenZFS takes
// (ZAP_MAXVALUELEN is 8192 with the NUL, OpenZFS 2.1 to 2.4).
const MaxProperty = 8191

// PackProperty encodes a document compressed, so that it fits a user property.
func PackProperty(d Document) (string, error) {
	b, err := Encode(d)
	if err != nil {
		return "", err
	}
	var buf bytes.Buffer
	w, err := flate.NewWriter(&buf, flate.BestCompression)
	if err != nil {
		return "", fmt.Errorf("pack %T: %w", d, err)
	}
	if _, err := w.Write(b); err != nil {
		return "", fmt.Errorf("pack %T: %w", d, err)
	}
	if err := w.Close(); err != nil {
		return "", fmt.Errorf("pack %T: %w", d, err)
	}
	s := base64.RawURLEncoding.EncodeToString(buf.Bytes())
	if len(s) > MaxProperty {
		return "", fmt.Errorf("pack %T: %d bytes do not fit a ZFS user property (%d)", d, len(s), MaxProperty)
	}
	return s, nil
}

// UnpackProperty reads what PackProperty wrote.
func UnpackProperty(s string, d Document) error {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return fmt.Errorf("unpack %T: %w: %w", d, ErrBadDocument, err)
	}
	// One byte more than allowed lets Decode see that it is too long.
	text, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(b)), MaxDocument+1))
	if err != nil {
		return fmt.Errorf("unpack %T: %w: %w", d, ErrBadDocument, err)
	}
	return Decode(text, d)
}
