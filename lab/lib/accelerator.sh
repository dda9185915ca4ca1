# Sourced by run and shell: KVM, emulation or the host itself.
# shellcheck shell=bash

readonly PROBE_LIMIT=20

# /dev/kvm opens in places where no stock kernel runs under it, so one is started for real, once for each host kernel and QEMU.
kvm_works() {
	[[ -r /dev/kvm && -w /dev/kvm ]] || return 1
	local key verdict file lock
	key="$(uname -r) $(qemu_version)"
	file=$(lab_cache)/kvm
	if [[ $(cat "$file" 2>/dev/null) != "$key: "* ]]; then
		exec {lock}>"$file.lock"
		flock "$lock"
		if [[ $(cat "$file" 2>/dev/null) != "$key: "* ]]; then
			say "trying KVM on this host, once (up to $PROBE_LIMIT s)"
			verdict=no
			if PGRESYNC_LAB=kvm PGRESYNC_LAB_BOOT_LIMIT=$PROBE_LIMIT "$LAB_DIR/run" --timeout 5 -- true {lock}>&- 2>/dev/null; then
				verdict=yes
			fi
			echo "$key: $verdict" >"$file"
			say "KVM works here: $verdict (remembered in $file)"
		fi
		exec {lock}>&-
	fi
	[[ $(cat "$file") == *': yes' ]]
}

# choose_accelerator: sets ACCELERATOR to kvm or tcg.
choose_accelerator() {
	case ${PGRESYNC_LAB:-auto} in
	auto) if kvm_works; then ACCELERATOR=kvm; else ACCELERATOR=tcg; fi ;;
	kvm | tcg) ACCELERATOR=$PGRESYNC_LAB ;;
	*) usage "PGRESYNC_LAB is '$PGRESYNC_LAB'; it may be auto, kvm, tcg or host" ;;
	esac
}
