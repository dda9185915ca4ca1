#!/bin/sh
# nsc.sh CLUSTER ROLE NODE...: makes users with the permissions of a role in the
# account PGRESYNC_CLUSTER, which it makes too if it is missing; operator and
# keystore are nsc's current ones. The lists are those of permissions/*.conf.
# NSC names another nsc; NSC=echo shows what would be done.
#
#   ./nsc.sh main primary-provision db1 db2 db3
#   ./nsc.sh main secondary db1 db2 db3
#   ./nsc.sh main operator-read alice
#   nsc push -A && nsc generate creds -a PGRESYNC_main -n secondary-db2 > db2.creds
set -eu

[ $# -ge 3 ] || { echo "usage: $0 CLUSTER ROLE NODE..." >&2; exit 2; }
nsc=${NSC:-nsc}
here=$(dirname "$0")
cluster=$1 role=$2
account=PGRESYNC_$cluster
shift 2

# subjects SECTION LIST < rendered: the subjects of one list, separated by commas.
subjects() {
	awk -v section="$1" -v list="$2" '
		/^[ \t]*#/ { next }
		$1 == section { in_section = 1 }
		in_section && $1 == list ":" { in_list = 1; next }
		in_list && /^[ \t]*\]/ { in_list = 0 }
		in_section && /^}/ { in_section = 0 }
		in_list { while (match($0, /"[^"]*"/)) {
			out = out sep substr($0, RSTART + 1, RLENGTH - 2); sep = ","
			$0 = substr($0, RSTART + RLENGTH) } }
		END { print out }'
}

"$nsc" describe account "$account" >/dev/null 2>&1 || {
	"$nsc" add account --name "$account"
	"$nsc" edit account --name "$account" --js-mem-storage 128M --js-disk-storage 8G --js-streams 5 --js-consumer 200
}
for node in "$@"; do
	permissions=$("$here/render" "$role" "$cluster" "$node")
	set -- add user --account "$account" --name "${role%-provision}-$node" \
		--allow-pub "$(echo "$permissions" | subjects publish allow)" \
		--allow-sub "$(echo "$permissions" | subjects subscribe allow)"
	deny=$(echo "$permissions" | subjects publish deny)
	[ -z "$deny" ] || set -- "$@" --deny-pub "$deny"
	case $permissions in
	*allow_responses*) set -- "$@" --allow-pub-response=1 --response-ttl 6m ;;
	esac
	"$nsc" "$@"
done
