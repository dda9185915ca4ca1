# Sourced by run: one throw-away machine, from its disks to its verdict.
# shellcheck shell=bash

# A machine that has not begun its command by then will not: on an idle host it takes seconds.
readonly BOOT_LIMIT=${PGRESYNC_LAB_BOOT_LIMIT:-300}
# What the host grants on top of the command's time for start, packing and stop, before it kills the machine.
readonly GRACE=$((BOOT_LIMIT + 120))
# Sparse, and always the same: the disks of a saved machine and those of the one that goes on from it must agree.
readonly IN_SIZE=8G OUT_SIZE=8G

# kernel_arguments: without all that a short-lived, trusted and mostly emulated machine can do without.
kernel_arguments() {
	local words=(
		console=ttyS0 quiet panic=-1
		mitigations=off init_on_alloc=0 apparmor=0 audit=0 nowatchdog cryptomgr.notests
		# Without trust in the TSC every look at the clock is a trip to an emulated device.
		tsc=reliable
	)
	printf '%s' "${words[*]}"
}

# accelerator_options: for ACCELERATOR.
accelerator_options() {
	case $ACCELERATOR in
	kvm) printf '%s\n' -accel kvm -cpu host ;;
	tcg)
		# The "fast string" features make kernel and libc copy with REP MOVSB, which is emulated byte by byte;
		# five-level paging makes every emulated page walk longer.
		printf '%s\n' -accel 'tcg,thread=multi,tb-size=512' \
			-cpu 'max,erms=off,fsrm=off,fzrm=off,fsrs=off,la57=off'
		;;
	esac
}

# disk_options NAME FILE [OPTION]
disk_options() {
	printf '%s\n' -drive "file=$2,if=none,id=$1,format=raw,cache=unsafe${3:+,$3}" \
		-device "virtio-blk-pci,drive=$1,serial=lab-$1"
}

# forwards: as options of QEMU's network. Only what is forwarded gets in, and nothing gets out.
forwards() {
	local port
	printf 'user,id=net,restrict=on'
	for port in "${FORWARDS[@]}"; do printf ',hostfwd=tcp:127.0.0.1:%s-10.0.2.15:%s' "$port" "$port"; done
}

# machine_options: all of the machine, the same for every kind of start.
machine_options() {
	accelerator_options
	printf '%s\n' \
		-machine 'q35,usb=off,vmport=off,i8042=off,smbus=off,sata=off,hpet=off' \
		-nodefaults -no-user-config -display none -no-reboot -nic none \
		-smp "$CPUS" -m "$MEMORY" -name pgresync-lab \
		-kernel "$IMAGE/kernel" -initrd "$IMAGE/initrd.img" -append "$(kernel_arguments)"
	disk_options root "$IMAGE/root.img" snapshot=on
	disk_options in "$WORK/in.img"
	disk_options out "$WORK/out.img"
	printf '%s\n' -device virtio-rng-pci -device vmgenid,guid=auto -device virtio-serial-pci \
		-chardev "pipe,id=control,path=$WORK/control" -device virtserialport,chardev=control,name=lab.control \
		-chardev "file,id=output,path=$WORK/output" -device virtserialport,chardev=output,name=lab.output \
		-device virtconsole,chardev=terminal \
		-chardev "file,id=console,path=$WORK/console.log" -serial chardev:console \
		-chardev "pipe,id=monitor,path=$WORK/monitor" -mon chardev=monitor,mode=control
	((${#FORWARDS[@]} == 0)) || printf '%s\n' -netdev "$(forwards)" -device virtio-net-pci,netdev=net
	# For experiments. Of two -cpu the last one counts.
	[[ -z ${PGRESYNC_LAB_QEMU-} ]] || tr -s ' ' '\n' <<<"$PGRESYNC_LAB_QEMU"
}

terminal_options() {
	if [[ $TERMINAL == yes ]]; then
		printf '%s\n' -chardev stdio,id=terminal,signal=off
	else
		printf '%s\n' -chardev null,id=terminal
	fi
}

# new_work_directory: sets WORK; it goes with us, and what a killed predecessor left is removed first.
new_work_directory() {
	local base=${TMPDIR:-/tmp} old lock
	for old in "$base"/pgresync-lab.*; do
		[[ -O $old && -f $old/lock ]] || continue
		exec {lock}>"$old/lock"
		if flock -n "$lock"; then rm -rf --one-file-system "$old"; fi
		exec {lock}>&-
	done
	WORK=$(mktemp -d "$base/pgresync-lab.XXXXXXXX")
	exec {WORK_LOCK}>"$WORK/lock"
	flock "$WORK_LOCK"
	trap 'end_jobs; rm -rf --one-file-system "$WORK"' EXIT
	trap 'say interrupted; exit 130' INT
	trap 'say terminated; exit 143' TERM HUP
}

# end_jobs: runs in traps, and so perhaps in the middle of a read with another IFS.
end_jobs() {
	local jobs
	mapfile -t jobs < <(jobs -p)
	((${#jobs[@]} == 0)) || kill "${jobs[@]}" 2>/dev/null || true
	wait 2>/dev/null || true
}

# stage_file SOURCE NAME: NAME in the machine's LAB_IN. Any user there may read it, whatever the umask here was.
stage_file() {
	local target=$WORK/stage/in/$2
	mkdir -p "$(dirname "$target")"
	cp -aH --reflink=auto --no-preserve=ownership -- "$1" "$target" || fail "copy $1 for the machine (above)"
	chmod -R a+rX,u+w -- "$target"
}

# make_disks: the input disk holds init, configuration, command and files; the output disk takes a bare tar.
make_disks() {
	cp "$LAB_DIR/guest/init" "$WORK/stage/init"
	local files
	files=$(find "$WORK/stage" | wc -l)
	mkfs.ext4 -q -F -d "$WORK/stage" -m 0 -N $((files + 16384)) -O '^has_journal,^metadata_csum,^resize_inode' \
		-E lazy_itable_init=1,nodiscard,root_owner=0:0 "$WORK/in.img" "$IN_SIZE" >"$WORK/mkfs.log" 2>&1 ||
		fail "make the input disk: $(tail -n 1 "$WORK/mkfs.log")" "make room in ${TMPDIR:-/tmp}, or set TMPDIR; at most $IN_SIZE may be put"
	rm -rf "$WORK/stage"
	truncate -s "$OUT_SIZE" "$WORK/out.img"
}

# start_machine OPTION...: sets MACHINE, and TO and FROM to talk with it. It cannot outlive us, even if we are killed.
start_machine() {
	local options
	rm -f "$WORK"/{control,monitor}.{in,out}
	mkfifo "$WORK"/{control,monitor}.{in,out}
	exec {TO}<>"$WORK/control.in" {FROM}<>"$WORK/control.out" {ASK}<>"$WORK/monitor.in" {HEAR}<>"$WORK/monitor.out"
	: >"$WORK/output"
	mapfile -t options < <(machine_options && terminal_options)
	# --foreground: in a process group of its own QEMU could not read the terminal.
	setpriv --pdeathsig TERM timeout --foreground --kill-after=5 $((TIMEOUT + GRACE)) \
		qemu-system-x86_64 "${options[@]}" "$@" <&0 2>"$WORK/qemu.log" {WORK_LOCK}>&- &
	MACHINE=$!
	# QEMU writes to a file, not straight to our stdout: a reader that pauses would pause the machine, and lose its last words.
	tail -c +1 -s 0.1 -f --pid="$MACHINE" "$WORK/output" {WORK_LOCK}>&- &
	FOLLOWER=$!
}

machine_lives() { kill -0 "$MACHINE" 2>/dev/null; }

# stop_machine: sets PROCESS to the status of QEMU or, if it was that which ended it, of timeout.
stop_machine() {
	kill "$MACHINE" 2>/dev/null || true
	PROCESS=0
	wait "$MACHINE" 2>/dev/null || PROCESS=$?
	wait "$FOLLOWER" 2>/dev/null || true
	exec {TO}>&- {FROM}>&- {ASK}>&- {HEAR}>&-
}

# converse: the machine's side of the talk is in guest/init. Sets STAGE to how far it came, and STATUS, BROKEN, TIMED_OUT,
# UNREAD (whoever read our output has gone: the machine goes too, as any program would).
converse() {
	local line='' part alive=yes limit=$((SECONDS + BOOT_LIMIT))
	STAGE=starting STATUS='' BROKEN='' TIMED_OUT=no UNREAD=no
	while :; do
		if ! IFS= read -r -t 1 -u "$FROM" part; then
			line+=$part # on a busy host time may run out within a line
			[[ $alive == yes ]] || return 0
			machine_lives || alive=no # its last words are read first
			if ! kill -0 "$FOLLOWER" 2>/dev/null && machine_lives; then
				UNREAD=yes
				return 0
			fi
			[[ $STAGE == running ]] || ((SECONDS < limit)) || return 0
			continue
		fi
		line+=$part
		case $line in
		ready)
			if [[ $STAGE == starting ]]; then
				STAGE=ready
				"$@" # what the caller has to do with a machine that is ready
				echo "go $EPOCHREALTIME" >&"$TO"
			fi
			;;
		started) STAGE=running ;;
		timeout) TIMED_OUT=yes ;;
		broken\ *) BROKEN=${line#broken } ;;
		exit\ *) STATUS=${line#exit } && return ;;
		esac
		line=''
	done
}

# verdict: says what went wrong, if anything, and returns the status to end with.
verdict() {
	if [[ -n $BROKEN ]]; then
		complain "the machine reports: $BROKEN failed"
	elif [[ $TIMED_OUT == yes ]]; then
		say "the command was still running after $TIMEOUT s and was ended"
		return "$LAB_EXIT_TIMEOUT"
	elif [[ -n $STATUS ]]; then
		return "$STATUS"
	elif [[ $UNREAD == yes ]]; then
		return 141 # 128 + SIGPIPE
	elif grep -aq 'Kernel panic' "$WORK/console.log" 2>/dev/null; then
		complain "the machine's kernel panicked"
	elif ((PROCESS == 124 || PROCESS == 137)); then
		complain "the machine did not answer any more and was killed after $((TIMEOUT + GRACE)) s"
		return "$LAB_EXIT_TIMEOUT"
	elif [[ $STAGE != running ]]; then
		complain "the machine did not start its command within $BOOT_LIMIT s (it got as far as '$STAGE', QEMU ended with $PROCESS)"
	else
		complain "the machine was lost (QEMU ended with status $PROCESS)"
	fi
	return "$LAB_EXIT_FAILURE"
}

# complain WHAT: with the evidence, as it goes away with us.
complain() {
	say "$1"
	sed 's/^/lab: qemu: /' "$WORK/qemu.log" >&2 || true
	tail -n 40 "$WORK/console.log" | sed 's/\r$//; s/^/lab: console: /' >&2 || true
}
