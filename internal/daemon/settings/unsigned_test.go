package settings

import (
	"strings"
	"testing"
)

func TestWhatIsBelievedUnsignedIsSaid(t *testing.T) {
	const key = "UA4ZUKKTW2QEKDLMNTGH3XGZ6ZQMGYGMYPHMS5WGNAHJBJRBCOGHMNOH"
	for _, tt := range []struct {
		name                       string
		trusted, triggers, without Words
		want                       []string
	}{
		{name: "nothing is said", want: []string{"PGRESYNC_TRUSTED_KEYS: needed", "PGRESYNC_UNSIGNED=documents", "PGRESYNC_TRIGGER_KEYS: needed", "PGRESYNC_UNSIGNED=triggers"}},
		{name: "all is believed", without: Words{"documents", "triggers"}},
		{name: "all is signed", trusted: Words{key}, triggers: Words{key}},
		{name: "triggers of the stock command", trusted: Words{key}, without: Words{"triggers"}},
		{name: "half is said", without: Words{"triggers"}, want: []string{"PGRESYNC_TRUSTED_KEYS: needed"}},
		{name: "both is said", trusted: Words{key}, without: Words{"documents", "triggers"}, want: []string{"names documents, and PGRESYNC_TRUSTED_KEYS is set"}},
		{name: "a word nobody knows", without: Words{"documents", "triggers", "all"}, want: []string{`PGRESYNC_UNSIGNED: "all": want documents, triggers or both`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Common{TrustedKeys: tt.trusted, TriggerKeys: tt.triggers, Unsigned: tt.without}
			err := c.checkUnsigned()
			if (err == nil) != (tt.want == nil) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
		})
	}
}
