# Sourced by run and shell: one throw-away machine, from its input disk to its verdict.
# shellcheck shell=bash

# A machine that has not begun its command by then will not: on an idle host it takes seconds.
readonly BOOT_LIMIT=${PGRESYNC_LAB_BOOT_LIMIT:-240}
# What the host grants on top of the command's time for start, packing and stop, before it kills the machine.
readonly GRACE=300
# Sparse: what the artifacts may come to.
readonly OUT_SIZE=8G

# kernel_arguments: without all that a short-lived, trusted and mostly emulated machine can do without.
kernel_arguments() {
	local words=(
		console=ttyS0 quiet panic=-1
		root=/dev/nvme0n1 rw rootfstype=ext4 rootflags=nobarrier,noinit_itable init=/lab-boot
		mitigations=off init_on_alloc=0 apparmor=0 audit=0 nowatchdog
		# Without trust in the TSC every look at the clock is a trip to an emulated device.
		tsc=reliable
	)
	printf '%s' "${words[*]}"
}

# accelerator_options kvm|tcg
accelerator_options() {
	case $1 in
	kvm) printf '%s\n' -accel kvm -cpu host ;;
	tcg)
		# The "fast string" features make kernel and libc copy with REP MOVSB, which is emulated byte by byte;
		# five-level paging makes every emulated page walk longer.
		printf '%s\n' -accel tcg,thread=multi,tb-size=512 \
			-cpu max,erms=off,fsrm=off,fzrm=off,fsrs=off,la57=off
		;;
	esac
}

# machine_options WORK: what every kind of start has in common.
machine_options() {
	local work=$1
	accelerator_options "$ACCELERATOR"
	printf '%s\n' \
		-machine q35,usb=off,vmport=off,smbus=off,sata=off,hpet=off \
		-nodefaults -no-user-config -display none -no-reboot -nic none \
		-smp "$CPUS" -m "$MEMORY" -name "pgresync-lab-$$" \
		-kernel "$IMAGE/vmlinuz" -append "$(kernel_arguments)" \
		-drive "file=$IMAGE/root.img,if=none,id=root,format=raw,snapshot=on,cache=unsafe" \
		-device nvme,drive=root,serial=lab-root \
		-drive "file=$work/in.img,if=none,id=in,format=raw,cache=unsafe" \
		-device virtio-blk-pci,drive=in,serial=lab-in \
		-drive "file=$work/out.img,if=none,id=out,format=raw,cache=unsafe" \
		-device virtio-blk-pci,drive=out,serial=lab-out \
		-device virtio-rng-pci -device virtio-serial-pci \
		-chardev "file,id=control,path=$work/control" -device virtserialport,chardev=control,name=lab.control \
		-chardev "file,id=console,path=$work/console.log" -serial chardev:console
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
	trap 'end_machine; rm -rf --one-file-system "$WORK"' EXIT
	trap 'say "interrupted"; exit 130' INT
	trap 'say "terminated"; exit 143' TERM HUP
}

# stage_file SOURCE NAME: NAME in the machine's LAB_IN. Any user there may read it, whatever the umask here was.
stage_file() {
	local target=$WORK/stage/in/$2
	mkdir -p "$(dirname "$target")"
	cp -aH --reflink=auto --no-preserve=ownership -- "$1" "$target"
	chmod -R a+rX,u+w -- "$target"
}

# make_disks: the input disk holds init, configuration, command and files; the output disk takes a bare tar.
make_disks() {
	local bytes files size
	cp "$LAB_DIR/guest/init" "$WORK/stage/init"
	bytes=$(du -s --apparent-size -B1 "$WORK/stage" | cut -f1)
	files=$(find "$WORK/stage" | wc -l)
	# Room for tests that write beside their data; sparse, so it costs nothing.
	size=$((bytes * 11 / 10 + files * 8192 + (1 << 30)))
	mkfs.ext4 -q -F -d "$WORK/stage" -m 0 -N $((files + 16384)) -O '^has_journal,^metadata_csum,^resize_inode' \
		-E lazy_itable_init=1,nodiscard,root_owner=0:0 "$WORK/in.img" $((size / 1024)) >"$WORK/mkfs.log" 2>&1 ||
		fail "make the input disk: $(tail -n 1 "$WORK/mkfs.log")" "make room in ${TMPDIR:-/tmp}, or set TMPDIR"
	rm -rf "$WORK/stage"
	truncate -s "$OUT_SIZE" "$WORK/out.img"
}

# start_machine SECONDS OPTION...: sets MACHINE. The machine cannot outlive us, even if we are killed.
start_machine() {
	local seconds=$1 options extra
	shift
	mapfile -t options < <(machine_options "$WORK")
	read -r -a extra <<<"${PGRESYNC_LAB_QEMU-}" # for experiments; of two -cpu the last one counts
	setpriv --pdeathsig TERM timeout --kill-after=5 "$seconds" \
		qemu-system-x86_64 "${options[@]}" "$@" ${extra[@]+"${extra[@]}"} </dev/null >"$WORK/qemu.log" 2>&1 {WORK_LOCK}>&- &
	MACHINE=$!
}

end_machine() {
	local job
	for job in $(jobs -p); do kill "$job" 2>/dev/null || true; done
	wait 2>/dev/null || true
}

told() { grep -aq "^$1" "$WORK/control" 2>/dev/null; }

# verdict STATUS: STATUS is that of the machine's process; prints nothing if all went well, exits with the command's status.
verdict() {
	local process=$1 status
	status=$(sed -n 's/^exit //p' "$WORK/control" 2>/dev/null | tail -n 1)
	if told broken; then
		complain "the machine reports: $(sed -n 's/^broken //p' "$WORK/control" | head -n 1) failed"
		return "$LAB_EXIT_FAILURE"
	elif told timeout; then
		say "the command was still running after $TIMEOUT s and was ended"
		return "$LAB_EXIT_TIMEOUT"
	elif [[ -n $status ]]; then
		return "$status"
	elif [[ -f $WORK/no-boot ]]; then
		complain "the machine did not come up within $BOOT_LIMIT s"
		return "$LAB_EXIT_FAILURE"
	elif ((process == 124 || process == 137)); then
		complain "the machine did not answer any more; killed after $((TIMEOUT + GRACE)) s"
		return "$LAB_EXIT_TIMEOUT"
	elif grep -aq 'Kernel panic' "$WORK/console.log" 2>/dev/null; then
		complain "the machine's kernel panicked"
	else
		complain "the machine was lost (QEMU ended with status $process)"
	fi
	return "$LAB_EXIT_FAILURE"
}

# complain WHAT: with the evidence, as it goes away with us.
complain() {
	say "$1"
	{
		sed 's/^/lab: qemu: /' "$WORK/qemu.log"
		tail -n 40 "$WORK/console.log" | sed 's/\r$//; s/^/lab: console: /'
	} >&2 2>/dev/null || true
}
