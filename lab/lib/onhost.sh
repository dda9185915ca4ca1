# Sourced by run: PGRESYNC_LAB=host, the command on this very host, under the same contract.
# shellcheck shell=bash

need_zfs_here() {
	((EUID == 0)) || fail "run on this host: needs root" "use sudo, or PGRESYNC_LAB=auto for a machine"
	[[ -r /dev/zfs && -w /dev/zfs ]] ||
		fail "run on this host: /dev/zfs is not usable" "load the zfs module, or use PGRESYNC_LAB=auto for a machine"
	zpool list >/dev/null || fail "run on this host: zpool list failed (above)" "install zfsutils-linux, or use PGRESYNC_LAB=auto"
}

put_here() {
	mkdir -p "$(dirname "$WORK/in/$2")"
	cp -aH --no-preserve=ownership -- "$1" "$WORK/in/$2"
	chmod -R a+rX,u+w -- "$WORK/in/$2"
}

# The command listens on this host itself: a forwarded port is there already.
# Pools made by the command are the command's to destroy; only its mounts end with it.
run_on_host() {
	need_zfs_here
	new_work_directory
	local out=$WORK/out variables child status=0
	chmod 755 "$WORK"
	mkdir "$WORK/in"
	mkdir -m 1777 "$out"
	each_put put_here
	mapfile -d '' -t variables < <(environment "$WORK/in" "$out")
	variables[0]+=:$PATH
	cd "$WORK/in"
	setpriv --pdeathsig TERM timeout --kill-after=5 "$TIMEOUT" unshare --mount --propagation private -- \
		env -i "${variables[@]}" "${COMMAND[@]}" </dev/null 2>&1 {WORK_LOCK}>&- &
	child=$!
	wait "$child" || status=$?
	if [[ -n $ARTIFACTS ]]; then cp -a "$out/." "$ARTIFACTS/"; fi
	if ((status == 124)); then say "the command was still running after $TIMEOUT s and was ended"; fi
	return "$status"
}
