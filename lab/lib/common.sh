# Sourced by every command of the lab: messages, the cache's place, the recipe's hash.
# shellcheck shell=bash

# Exit statuses of the lab itself; anything else is the status of the command in the machine.
readonly LAB_EXIT_USAGE=2 LAB_EXIT_TIMEOUT=124 LAB_EXIT_FAILURE=125

# The lab speaks on stderr only: stdout belongs to the command in the machine.
say() { printf 'lab: %s\n' "$*" >&2; }

# die STATUS WHAT [REMEDY]
die() {
	local status=$1
	printf 'lab: %s\n' "$2" >&2
	if [[ -n ${3-} ]]; then printf 'lab: what to do: %s\n' "$3" >&2; fi
	exit "$status"
}

fail() { die "$LAB_EXIT_FAILURE" "$@"; }

usage() { die "$LAB_EXIT_USAGE" "$1" "see $LAB_DIR/README.md, or run it with --help"; }

# HOME is unset in some CI runners and in services.
lab_cache() {
	local base=${XDG_CACHE_HOME:-${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}/.cache}
	printf '%s\n' "${PGRESYNC_LAB_CACHE:-$base/pgresync/lab}"
}

# The name of an image is a hash of all that goes into it by our doing; what the mirror serves on that
# day does not count. guest/ and lib/ are not part of it: they reach a machine at every start, so that
# a change there costs no new image.
recipe_hash() {
	(cd "$LAB_DIR/image" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) |
		sha256sum | cut -c1-16
}

image_dir() { printf '%s/%s\n' "$(lab_cache)" "$(recipe_hash)"; }

# complete_image DIR: the stamp is written last, and before the directory gets its name.
complete_image() { [[ -f $1/complete ]]; }

# need_image: sets IMAGE. The lock is shared by all machines, so that build --prune sees that it is in use.
need_image() {
	IMAGE=$(image_dir)
	complete_image "$IMAGE" || "$LAB_DIR/build" || exit "$LAB_EXIT_FAILURE"
	exec {IMAGE_LOCK}<"$IMAGE.lock"
	flock -s "$IMAGE_LOCK"
}
