# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# What the scripts share. Sourced, with the script's own name in $0.

set -euo pipefail

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034 # for those who source this
OUT=${LGUEST_OUT:-$TOP/out}

die()
{
	echo "${0##*/}: $*" >&2
	exit 2
}

# A line that shows where we are, on stderr: stdout belongs to results.
step()
{
	printf '[%3ds] %s\n' "$SECONDS" "$*" >&2
}

# as_root COMMAND...: directly as root, else through sudo
as_root()
{
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		echo "this needs root, and there is no sudo (run ${0##*/} as root once)"
		return 1
	fi
}

# quietly COMMAND...: shows its output only when it fails
quietly()
{
	local log status=0

	log=$(mktemp)
	"$@" >"$log" 2>&1 </dev/null || status=$?
	[ "$status" -eq 0 ] || cat "$log" >&2
	rm -f "$log"
	return "$status"
}

# alone NAME: waits until no other process is in the same part; for what several test runs make below out/
alone()
{
	mkdir -p "$OUT"
	exec 9>"$OUT/.$1.lock"
	flock 9
}
