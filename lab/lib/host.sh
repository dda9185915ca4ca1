# Sourced by build: what the host has to bring, and from where its Debian packages come.
# shellcheck shell=bash

# The programs the lab needs, each with the Debian package that has it. QEMU is apart: its version counts.
readonly HOST_PROGRAMS=(
	debootstrap:debootstrap mkfs.ext4:e2fsprogs dumpe2fs:e2fsprogs flock:util-linux setpriv:util-linux
	unshare:util-linux xz:xz-utils gpgv:gpgv wget:wget depmod:kmod
)

# 7.2 (bookworm) panics a 6.12 kernel: its emulated cmpxchg16b is wrong. 8.2 is the oldest known to be good.
readonly QEMU_OLDEST=8.2

on_debian() { (. /etc/os-release 2>/dev/null && [[ ${ID-} == debian ]]); }
host_codename() { (. /etc/os-release && printf '%s\n' "${VERSION_CODENAME-}"); }

# The host's own Debian mirror. apt itself reads both formats of sources, so it is asked instead of parsing them.
# The Origin comes from a downloaded list; without lists the first source of the host's suite must do.
# Empty if apt knows none: debootstrap then uses its built-in default.
debian_mirror() {
	local uri line suite
	command -v apt-get >/dev/null || return 0
	suite=$(host_codename)
	uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' \
		'Component: main' "Codename: $suite" 2>/dev/null | head -n 1) || true
	if [[ -z $uri ]] && on_debian; then
		uri=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
			awk -v suite="$suite" '$1 == suite && $2 == "main" { print $3; exit }') || true
	fi
	# Debian's cloud images keep the address in a file of their own, which debootstrap cannot follow.
	if [[ $uri == mirror+file:* ]]; then
		local list=${uri#mirror+file:}
		list=/${list##+(/)}
		uri=
		while read -r line _; do
			[[ -n $line && $line != '#'* ]] && uri=$line && break
		done <"${list%/}"
	fi
	printf '%s\n' "${uri%/}"
}

# debootstrap fetches with wget, which does not know of apt's proxy.
use_apt_proxy() {
	command -v apt-config >/dev/null || return 0
	local proxy=
	eval "$(apt-config shell proxy Acquire::http::Proxy)"
	if [[ -n $proxy && $proxy != DIRECT ]]; then export http_proxy=${http_proxy:-$proxy}; fi
}

qemu_version() { qemu-system-x86_64 --version 2>/dev/null | sed -n '1s/.*version \([0-9.]*\).*/\1/p'; }

qemu_good() {
	local have
	have=$(qemu_version) || return 1
	[[ -n $have && $(printf '%s\n' "$QEMU_OLDEST" "$have" | sort -V | head -n 1) == "$QEMU_OLDEST" ]]
}

missing_packages() {
	local entry
	for entry in "${HOST_PROGRAMS[@]}"; do
		command -v "${entry%%:*}" >/dev/null || printf '%s\n' "${entry#*:}"
	done | sort -u
}

# Another apt at work is waited for, not an error.
readonly APT_OPTIONS=(-o DPkg::Lock::Timeout=600 -o APT::Get::Assume-Yes=true -o APT::Install-Recommends=false)

# quiet LOG COMMAND...: the output matters only if the command fails.
quiet() {
	local log=$1
	shift
	"$@" >>"$log" 2>&1 </dev/null || {
		local status=$?
		tail -n 25 "$log" >&2
		return "$status"
	}
}

# QEMU from backports, with lists of our own: the host's apt never learns of them.
install_qemu() {
	local suite mirror private keyring=/usr/share/keyrings/debian-archive-keyring.gpg log=$1
	suite=$(host_codename)
	mirror=$(debian_mirror)
	[[ -n $mirror ]] || fail "install QEMU: apt has no Debian source for $suite" "install qemu-system-x86 >= $QEMU_OLDEST by hand"
	private=$(mktemp -d)
	mkdir -p "$private/lists/partial" "$private/archives/partial"
	printf "deb [signed-by=$keyring] $mirror %s main\n" "$suite" "$suite-backports" >"$private/sources.list"
	local apt=(apt-get "${APT_OPTIONS[@]}" -o Dir::Etc::SourceList="$private/sources.list" -o Dir::Etc::SourceParts=-
		-o Dir::State::Lists="$private/lists" -o Dir::Cache="$private")
	local status=0
	quiet "$log" "${apt[@]}" update && quiet "$log" "${apt[@]}" -t "$suite-backports" install qemu-system-x86 || status=$?
	rm -rf "$private"
	return "$status"
}

# need_host: everything in place, or one error that says what is missing.
need_host() {
	[[ $(uname -m) == x86_64 ]] || fail "this host is $(uname -m): the machine's recipe is for x86_64 only"
	local packages log
	mapfile -t packages < <(missing_packages)
	qemu_good && ((${#packages[@]} == 0)) && return 0
	if ! on_debian || ((EUID != 0)); then
		qemu_good || packages+=("qemu-system-x86 >= $QEMU_OLDEST (found: $(qemu_version || true))")
		fail "missing on this host: $(IFS=,; printf '%s' "${packages[*]}")" \
			"install them, or run this as root on Debian, which installs them by itself"
	fi
	log=$(mktemp)
	export DEBIAN_FRONTEND=noninteractive
	if ((${#packages[@]})); then
		say "installing ${packages[*]} on this host"
		quiet "$log" apt-get "${APT_OPTIONS[@]}" update || true # a third party's broken list is not our concern
		quiet "$log" apt-get "${APT_OPTIONS[@]}" install "${packages[@]}" debian-archive-keyring ||
			fail "install ${packages[*]}: apt-get failed (above)" "check the host's apt sources, then try again"
	fi
	if ! qemu_good; then
		say "installing QEMU >= $QEMU_OLDEST on this host"
		# Plain first: from trixie on the suite's own QEMU is new enough.
		local candidate
		candidate=$(apt-cache policy qemu-system-x86 | sed -n 's/ *Candidate: *\([0-9]*:\)\{0,1\}\([0-9.]*\).*/\2/p')
		if [[ -n $candidate && $(printf '%s\n' "$QEMU_OLDEST" "$candidate" | sort -V | head -n 1) == "$QEMU_OLDEST" ]]; then
			quiet "$log" apt-get "${APT_OPTIONS[@]}" install qemu-system-x86
		else
			install_qemu "$log"
		fi || fail "install QEMU: apt-get failed (above)" "install qemu-system-x86 >= $QEMU_OLDEST by hand"
		qemu_good || fail "the installed QEMU is $(qemu_version), needed is >= $QEMU_OLDEST"
	fi
	rm -f "$log"
}
