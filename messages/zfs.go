package messages

// DatasetInfo is what is known of one file system.
type DatasetInfo struct {
	Name Dataset
	GUID GUID
	// Mountpoint is the property: a path, "none" or "legacy".
	Mountpoint string
	Mounted    bool
	CanMount   string // on, off, noauto
	Origin     SnapshotName
	ReadOnly   bool
	// Used, Referenced, Available and Written are in bytes.
	Used, Referenced, Available, Written uint64
	// Quota bounds Used, RefQuota bounds Referenced; 0 for none.
	Quota, RefQuota uint64
	RecordSize      uint64
	Compression     string
	Encryption      string // "off" when not encrypted
	// Token is set while a partial receive waits.
	Token ResumeToken
	// Marks are the pgresync:* user properties whose source is local.
	Marks map[string]string
}

// SendSpec says what zfs send is to produce.
type SendSpec struct {
	Target SnapshotName
	To     GUID
	// Base is a snapshot or bookmark, "" for a full stream.
	Base  SnapshotName
	From  GUID
	Flags SendFlags
	// Token resumes a cut receive of the same Target and Base.
	Token ResumeToken
}

// ReceiveSpec says what zfs recv is to accept, and where. A stream whose BEGIN
// record carries other GUIDs is refused before zfs recv is started (I-5).
type ReceiveSpec struct {
	Into Dataset
	// Snapshot is the short name that the received snapshot gets.
	Snapshot string
	To, From GUID
	// Flags are the chain's; "" when they are not known.
	Flags SendFlags
	// Set are properties given with -o.
	Set map[string]string
}

// PoolInfo is one pool's state.
type PoolInfo struct {
	GUID GUID
	// Size and Free are in bytes; Capacity is what is used, in percent.
	Size, Free uint64
	Capacity   int
	Health     string // ONLINE, DEGRADED, …
}
