package secondary

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// story is one way in which a resync comes about, and what must come of it.
type story struct {
	name string
	// seeded begins with a standby that we seeded and that streams.
	seeded bool
	// nested is seeded, with a dataset of its own for the data directory. Its log file is
	// then in the dataset above.
	nested bool
	// begin makes the trouble.
	begin func(w *world)
	// trigger is sent to the node by name.
	trigger bool
	// operator is the end that is wanted: needs-operator, with what there was running.
	operator bool
	// calm is told without blows: what they change is not what it is about.
	calm bool
}

var errSettings = settingsError{}

type settingsError struct{}

func (settingsError) Error() string                { return "max_connections is too low" }
func (settingsError) StartReason() messages.Reason { return messages.ReasonSettingsTooLow }

type damagedError struct{}

func (damagedError) Error() string             { return "could not locate a valid checkpoint record" }
func (damagedError) DataDamaged() (bool, bool) { return true, true }

func stories() []story {
	gap := func(w *world) {
		clear(w.pub.slots)
		w.pub.write(10)
	}
	// firstCopy tells the first new copy from what the standby had.
	firstCopy := func(w *world) func(*pgData) bool {
		first := messages.LSN(0) // the position of its snapshot
		return func(pg *pgData) bool {
			if first == 0 && pg != w.had {
				first = pg.stop
			}
			return pg != w.had && pg.stop == first
		}
	}
	return []story{
		{name: "seed", begin: func(*world) {}},
		{name: "increment", seeded: true, begin: gap},
		{name: "trigger", seeded: true, begin: func(*world) {}, trigger: true},
		{name: "stopped before", seeded: true, begin: func(w *world) { gap(w); w.server = nil }, trigger: true},
		{name: "stopped before, and proof fails once", seeded: true, trigger: true, begin: func(w *world) {
			gap(w)
			stopped(w)
			w.mute = firstCopy(w)
		}},
		{name: "lost", seeded: true, begin: func(w *world) {
			gap(w)
			w.server, w.mounts = nil, nil
			for _, d := range w.tree(w.cfg.Dataset) {
				delete(w.pool, d)
			}
		}},
		{name: "start fails once", seeded: true, begin: func(w *world) {
			gap(w)
			first := firstCopy(w)
			w.startFails = func(pg *pgData) error {
				if first(pg) {
					return errors.New("it does not start")
				}
				return nil
			}
		}},
		{name: "a stranger in the way", seeded: true, begin: func(w *world) {
			gap(w)
			w.stranger, w.strangerUntil, w.strangerHides = w.cfg.Dataset, time.Now().Add(3*time.Minute), true
		}},
		{name: "a stranger in the way who can be seen", seeded: true, operator: true, calm: true, begin: func(w *world) {
			gap(w)
			w.cfg.SameFailure = 3
			w.stranger, w.strangerUntil = w.cfg.Dataset, time.Now().Add(24*time.Hour)
			w.startFails = func(*pgData) error {
				w.breaks("PostgreSQL was stopped although its mount could not go")
				return nil
			}
		}},
		{name: "parameters raised", seeded: true, begin: func(w *world) { gap(w); w.connections = 20 }},
		{name: "parameters refused", seeded: true, operator: true, calm: true, begin: func(w *world) {
			gap(w)
			w.connections, w.cfg.LowSettings = 20, plan.SettingsRefuse
			w.startFails = func(*pgData) error {
				w.breaks("PostgreSQL was stopped although the copy could not start")
				return nil
			}
		}},
		{name: "its log file cannot be written", seeded: true, operator: true, calm: true, begin: func(w *world) {
			gap(w)
			w.unloggable = true
			staysUp(w)
		}},
		{name: "its configuration is not known", seeded: true, operator: true, calm: true, begin: func(w *world) {
			gap(w)
			w.elsewhere = true
			w.startFails = func(*pgData) error {
				w.breaks("PostgreSQL was stopped although it is not known what the copy would start with")
				return nil
			}
		}},
		{name: "damaged", seeded: true, begin: func(w *world) {
			w.server = nil
			w.startFails = func(pg *pgData) error {
				if pg == w.had {
					return damagedError{}
				}
				return nil
			}
		}},
		{name: "settings too low", seeded: true, operator: true, begin: func(w *world) {
			gap(w)
			w.startFails = func(pg *pgData) error {
				if pg != w.had {
					return errSettings
				}
				return nil
			}
		}},
		{name: "start fails for ever", seeded: true, operator: true, begin: func(w *world) {
			gap(w)
			w.cfg.SameFailure = 5
			w.startFails = func(pg *pgData) error {
				if pg != w.had {
					return errors.New("it does not start")
				}
				return nil
			}
		}},
		{name: "switch fails here and there for ever", seeded: true, operator: true, begin: func(w *world) {
			gap(w)
			w.cfg.BudgetPerDay = 6
			n := 0
			w.startFails = func(pg *pgData) error {
				if n++; pg != w.had && n%2 == 1 {
					return errors.New("it does not start")
				}
				return nil
			}
			w.mute = func(pg *pgData) bool { return pg != w.had }
		}},
		{name: "a former publisher", seeded: true, begin: func(w *world) { gap(w); published(w) }},
		{name: "a former publisher, in place", seeded: true, begin: func(w *world) {
			gap(w)
			published(w)
			w.tight, w.waived, w.cfg.Mode = true, true, ModeInPlace
		}},
		{name: "in place", seeded: true, begin: func(w *world) { gap(w); w.tight, w.waived, w.cfg.Mode = true, true, ModeInPlace }},
		{name: "nested", nested: true, begin: gap},
		{name: "nested, in place", nested: true, begin: func(w *world) { gap(w); w.tight, w.waived, w.cfg.Mode = true, true, ModeInPlace }},
		{name: "in place, stopped before", seeded: true, trigger: true, begin: func(w *world) {
			gap(w)
			stopped(w)
			w.tight, w.waived, w.cfg.Mode = true, true, ModeInPlace
		}},
		{name: "nested, in place, stopped before", nested: true, trigger: true, begin: func(w *world) {
			gap(w)
			stopped(w)
			w.tight, w.waived, w.cfg.Mode = true, true, ModeInPlace
		}},
		{name: "discard broken", seeded: true, begin: func(w *world) {
			gap(w)
			w.pub.shots = nil // nothing in common any more: the whole database has to come
			clear(w.pub.contents)
			w.tight, w.waived, w.cfg.Mode = true, true, ModeDiscardBroken
		}},
		{name: "discard broken, the last dataset does not fit", seeded: true, begin: func(w *world) {
			gap(w)
			w.pub.shots = nil
			clear(w.pub.contents)
			w.tight, w.tightFor, w.waived, w.cfg.Mode = true, "space", true, ModeDiscardBroken
		}},
		{name: "in place, the new copy does not start at first", seeded: true, begin: func(w *world) {
			gap(w)
			w.tight, w.waived, w.cfg.Mode = true, true, ModeInPlace
			first := firstCopy(w)
			w.startFails = func(pg *pgData) error {
				if first(pg) {
					return errors.New("it does not start")
				}
				return nil
			}
		}},
		{name: "no room, side by side", seeded: true, operator: true, calm: true, begin: func(w *world) { gap(w); w.tight = true; staysUp(w) }},
		{name: "no room, in place, nothing in common", seeded: true, operator: true, calm: true, begin: func(w *world) {
			gap(w)
			w.pub.shots = nil
			w.tight, w.cfg.Mode = true, ModeInPlace
			staysUp(w)
		}},
		{name: "no room, in place, the old copy cannot be removed", seeded: true, operator: true, calm: true, begin: func(w *world) {
			gap(w)
			w.tight, w.stuck, w.cfg.Mode = true, messages.ErrBusy, ModeInPlace
		}},
		{name: "no room, discard broken, diverged", seeded: true, trigger: true, operator: true, calm: true, begin: func(w *world) {
			pg := w.serving()
			pg.signal, pg.promoted, pg.timeline, pg.fork, pg.state = false, true, 2, pg.at, "in production"
			pg.at += 1 << 20
			w.pub.write(3)
			w.tight, w.keepHad, w.cfg.Mode = true, true, ModeDiscardBroken
			staysUp(w)
		}},
		{name: "no room, discard broken, it streams", seeded: true, trigger: true, operator: true, calm: true, begin: func(w *world) {
			w.tight, w.cfg.Mode = true, ModeDiscardBroken
			staysUp(w)
		}},
		{name: "no room, discard broken, foreign", operator: true, calm: true, begin: func(w *world) {
			foreignStandby(w)
			w.tight, w.keepHad, w.cfg.Mode = true, true, ModeDiscardBroken
			staysUp(w)
		}},
		{name: "discard broken, foreign, adopted", begin: func(w *world) {
			foreignStandby(w)
			w.tight, w.waived, w.cfg.Adopt, w.cfg.Mode = true, true, true, ModeDiscardBroken
		}},
		{name: "the primary keeps no WAL for a copy on its way", seeded: true, operator: true, calm: true, begin: func(w *world) {
			gap(w)
			w.pub.tight, w.cfg.SameFailure = true, 3
			staysUp(w)
		}},
		{name: "proof fails once", seeded: true, begin: func(w *world) {
			gap(w)
			w.mute = firstCopy(w)
		}},
		{name: "diverged", seeded: true, trigger: true, begin: func(w *world) {
			pg := w.serving()
			pg.signal, pg.promoted, pg.timeline, pg.fork, pg.state = false, true, 2, pg.at, "in production"
			pg.at += 1 << 20
			w.pub.write(3)
			w.keepHad = true
		}},
		{name: "it follows a promotion that does not publish", seeded: true, trigger: true, begin: func(w *world) {
			w.keepHad = true
			pg := w.serving()
			pg.timeline, pg.fork = w.pub.timeline+1, pg.at
			pg.at += 1 << 20
		}},
		{name: "past the fork, and its operator is first", seeded: true, trigger: true, begin: func(w *world) { pastTheFork(w); w.keepHad = true }},
		{name: "past the fork, and its operator decides", seeded: true, trigger: true, begin: func(w *world) {
			pastTheFork(w)
			w.keepHad, w.cfg.AutoResync = true, false
		}},
		{name: "stopped past the fork", seeded: true, trigger: true, begin: func(w *world) {
			pastTheFork(w)
			w.server, w.keepHad = nil, true
		}},
		{name: "no room, discard broken, past the fork", seeded: true, trigger: true, operator: true, calm: true, begin: func(w *world) {
			pastTheFork(w)
			w.tight, w.keepHad, w.cfg.Mode = true, true, ModeDiscardBroken
			staysUp(w)
		}},
		{name: "damaged, and the WAL since the last pass is there", seeded: true, begin: func(w *world) {
			w.reclones, w.pub.keep, w.server = true, 20, nil
			w.pub.write(5)
			w.startFails = func(pg *pgData) error {
				if pg == w.had {
					return damagedError{}
				}
				return nil
			}
		}},
		{name: "another log on the same timeline", seeded: true, begin: func(w *world) {
			w.serving().apart, w.compares, w.keepHad = true, true, true
		}},
		{name: "fail-over while proving", seeded: true, begin: func(w *world) {
			gap(w)
			w.follows = true
			w.startFails = func(pg *pgData) error {
				if pg != w.had && w.pub.host == "db1" {
					w.pub.failOver("db3", w.pub.lsn)
				}
				if pg == w.had && w.pub.host != "db1" && len(w.strikes) == 0 {
					w.breaks("the new copy is taken back, although it can follow")
				}
				return nil
			}
		}},
		{name: "fail-over while proving to one that is behind", seeded: true, begin: func(w *world) {
			gap(w)
			w.follows = true
			fork := w.pub.lsn
			w.startFails = func(pg *pgData) error {
				if pg != w.had && w.pub.host == "db1" {
					pg.at = max(pg.at, fork+1)
					w.pub.failOver("db3", fork)
				}
				return nil
			}
		}},
		{name: "promoted and crashed while proving", seeded: true, operator: true, calm: true, begin: func(w *world) {
			gap(w)
			w.keepHad, w.crashed = true, true
			w.mute = func(pg *pgData) bool {
				if pg != w.had && !pg.promoted {
					pg.signal, pg.promoted, pg.unsaved, pg.timeline, pg.fork, pg.state = false, true, true, pg.timeline+1, pg.at, "in production"
					w.server = nil
					w.startFails = func(*pgData) error {
						w.breaks("something is started although the new copy was promoted")
						return nil
					}
				}
				return pg.promoted
			}
		}},
		{name: "foreign", begin: func(w *world) { foreignStandby(w); w.keepHad = true }},
		{name: "foreign, adopted", begin: func(w *world) { foreignStandby(w); w.cfg.Adopt = true }},
		{name: "foreign, adopted, a former publisher", begin: func(w *world) { foreignStandby(w); published(w); w.cfg.Adopt = true }},
	}
}

// storyOf is the story of that name.
func storyOf(t *testing.T, name string) story {
	t.Helper()
	i := slices.IndexFunc(stories(), func(s story) bool { return s.name == name })
	if i < 0 {
		t.Fatalf("there is no story %q", name)
	}
	return stories()[i]
}

// Nothing moves where the last pass will do, and an increment where it will not.
func TestTheLastPassWillDo(t *testing.T) {
	s := storyOf(t, "damaged, and the WAL since the last pass is there")
	for name, tt := range map[string]struct {
		keep  int
		moves bool
	}{"the WAL is there": {20, false}, "it is gone": {2, true}} {
		t.Run(name, func(t *testing.T) {
			told := s
			told.begin = func(w *world) {
				s.begin(w)
				w.pub.keep = tt.keep
				clear(w.pub.slots)
			}
			w, problems := play(t, told, nil, nil)
			if moved := len(w.moved) > 0; moved != tt.moves || len(problems) > 0 {
				t.Errorf("moved %v, want %v; %v\n%s", w.moved, tt.moves, problems, w.describe())
			}
		})
	}
}

// stopped is somebody who stopped PostgreSQL before anything began.
func stopped(w *world) {
	w.serving().state = "shut down in recovery"
	w.server = nil
}

// staysUp: what may not be given up is not even stopped.
func staysUp(w *world) {
	w.startFails = func(*pgData) error {
		w.breaks("PostgreSQL was stopped although its copy may not be given up")
		return nil
	}
}

// pastTheFork is a fail-over to a node that had less of the log than this standby.
func pastTheFork(w *world) {
	fork := w.pub.lsn
	w.serving().at = fork + 1<<20
	w.pub.failOver("db3", fork)
}

// published gives each dataset of the live copy, that of pg_wal too, a snapshot from
// the time when this node was the publisher, which holds what it keeps. It went off
// duty by a clean switchover.
func published(w *world) {
	short := messages.NewSnapshotID(time.Now()).ShortName()
	for _, d := range w.tree(w.cfg.Dataset) {
		fs := w.pool[d]
		fs.snaps = append(fs.snaps, &snapshot{
			short: short, guid: messages.GUID(w.draw()), txg: messages.TXG(w.draw()), local: map[string]string{}, content: fs.content.clone(fs.content.copy), held: true,
		})
	}
}

// foreignStandby is one that pg_basebackup made, whose WAL is gone.
func foreignStandby(w *world) {
	for rel, at := range simMounts {
		fs := &fileSystem{guid: messages.GUID(w.draw()), local: map[string]string{"mountpoint": at, "quota": "1T"}, content: content{copy: "foreign"}}
		if rel == "" {
			fs.content.pg = &pgData{sysid: simSystem, timeline: 1, at: 0x1000, state: "shut down in recovery", signal: true, label: true, streamed: true}
		}
		w.pool[w.cfg.Dataset.Child(rel)] = fs
	}
	w.reset()
	w.startByOthers()
	w.pub.write(10)
}

// A copy that was promoted and crashed while it was proven stops the resync. Once
// the cluster has moved on without it, and the policy says auto, it comes home by
// itself, and what it holds is kept.
func TestWhatWasPromotedWhileProvingComesHome(t *testing.T) {
	if theSeeded == nil {
		seedOnce(t)
	}
	for _, policy := range []plan.RejoinPolicy{plan.RejoinAuto, plan.RejoinTrigger} {
		t.Run(string(policy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := theSeeded.clone()
				must(t, wait(t.Context(), time.Hour))
				w.cfg.Diagnosis.RejoinPromoted, w.cfg.CheckInterval = policy, time.Minute
				s := storyOf(t, "promoted and crashed while proving")
				s.begin(w)
				w.had = w.pool[w.cfg.Dataset].content.pg
				if !w.run(t, false, func() bool { return w.alarmed(t) }) {
					t.Fatalf("no alarm\n%s", w.describe())
				}
				promoted := w.pool[w.cfg.Dataset].content.pg
				w.had, w.keepHad, w.startFails, w.mute = promoted, true, nil, nil
				w.pub.failOver("db3", w.pub.lsn)
				w.pub.failOver("db4", w.pub.lsn)
				home := w.run(t, false, func() bool { return w.happy(t) })
				kept := w.find(promoted)
				if home != (policy == plan.RejoinAuto) || kept == "" || home == (kept == w.cfg.Dataset) || len(w.broken) > 0 {
					t.Errorf("home %v, the promoted copy is %q; %v\n%s", home, kept, w.broken, w.describe())
				}
			})
		})
	}
}
