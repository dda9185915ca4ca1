package secondary

import (
	"maps"
	"runtime"

	"github.com/pgresync/pgresync/messages"
)

// confined are properties of every dataset that we receive or make: what a stream
// brings may not run with another's rights (openzfs#12218), and PostgreSQL
// executes nothing in its data directory.
func confined() map[string]string {
	props := map[string]string{"setuid": "off", "exec": "off"}
	if runtime.GOOS != "freebsd" { // which has devices only in devfs(5)
		props["devices"] = "off"
	}
	return props
}

// confine adds them to props, where the operator did not say otherwise.
func confine(props map[string]string) {
	for key, value := range confined() {
		if _, said := props[key]; !said {
			props[key] = value
		}
	}
}

// lineageProperties are of every received dataset: a mount alone would modify it
// (zrepl#405), so it is neither mountable nor writable.
func (s *Service) lineageProperties() map[string]string {
	props := map[string]string{"readonly": "on", "canmount": "noauto", "mountpoint": "none", messages.PropCluster: string(s.cfg.Cluster)}
	maps.Copy(props, confined())
	return props
}
