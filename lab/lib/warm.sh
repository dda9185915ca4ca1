# Sourced by run: a machine that is ready but has not yet looked at its own disks is saved, once for each kind of
# machine, and the next ones go on from there. That spares the whole start: some 6 s of emulation each time, and 20 s
# and more when several machines share a busy host. Not with KVM, where a start is too short to be worth it.
# shellcheck shell=bash

# saved_start: the file for a machine like this one. All that shapes the machine is in the name.
saved_start() {
	local key
	key=$({ machine_options | sed "s|$WORK||" && qemu_version && cat "$LAB_DIR/guest/init"; } | sha256sum | cut -c1-16)
	printf '%s/start-%s\n' "$IMAGE" "$key"
}

# Machines with ports are few, and each set of ports would be a kind of its own.
may_warm() { [[ $ACCELERATOR == tcg && ${PGRESYNC_LAB_COLD:-no} == no ]] && ((${#FORWARDS[@]} == 0)); }

# ask COMMAND [EVENT]: to QEMU's monitor; waits for the answer, or for the event if one is named.
ask() {
	local line
	echo "$1" >&"$ASK"
	while IFS= read -r -t 60 -u "$HEAR" line; do
		case $line in
		*'"error"'* | *'"status": "failed"'*) return 1 ;;
		*'"return"'*) [[ -n ${2-} ]] || return 0 ;;
		*"${2:-no event}"*) return 0 ;;
		esac
	done
	return 1
}

# save_start FILE: a machine that cannot be saved is no harm; it just runs on.
save_start() {
	local file=$1 temporary=$1.$$ lock
	may_warm && [[ -w $IMAGE ]] || return 0 # another user's image is used but not added to
	exec {lock}>"$file.lock"
	if flock -n "$lock" && [[ ! -e $file ]]; then
		if ask '{"execute":"qmp_capabilities"}' &&
			ask '{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"events","state":true}]}}' &&
			ask '{"execute":"migrate-set-parameters","arguments":{"max-bandwidth":100000000000}}' &&
			# Not stopped before, or those that go on from here would be stopped too.
			ask '{"execute":"migrate","arguments":{"uri":"file:'"$temporary"'"}}' '"status": "completed"'; then
			chmod 644 "$temporary"
			mv "$temporary" "$file"
			# Those of other kinds of machine that nobody wanted lately; each is a few hundred MB.
			find "$IMAGE" -name 'start-*' -mtime +2 -delete
		else
			say "saving the started machine failed; it goes on all the same"
			rm -f "$temporary"
		fi
		ask '{"execute":"cont"}' || true
	fi
	exec {lock}>&-
}

# with_machine: starts one, warm if possible, and talks with it to the end.
with_machine() {
	local file
	file=$(saved_start)
	if [[ -r $file ]] && may_warm; then
		touch "$file" 2>/dev/null || true
		start_machine -incoming "file:$file"
		converse true
		[[ $STAGE == starting ]] || return 0
		stop_machine
		say "the saved start is of no use ($(head -n 1 "$WORK/qemu.log")); starting from the beginning"
		rm -f "$file"
	fi
	start_machine
	converse save_start "$file"
}
