// Package resync is the standby's state machine as a table, and the journal that
// carries it over a crash. The table says what follows what and why; the package
// acts on nothing and knows no clock. The order that keeps data safe: write the
// journal with the new phase, then do the phase's action, which is safe to repeat;
// its outcome is the next event. After a restart ActionOf the journal's phase is
// done again.
package resync
