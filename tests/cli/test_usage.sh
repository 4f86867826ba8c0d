#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the program itself does with its command line: exit status, which of
# the two outputs, how many lines.
#
#	test_usage.sh <lguest> <source directory>
#
set -u
lguest=$1
failed=0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# expect STATUS LINES-ON-STDOUT LINES-ON-STDERR PATTERN ARGUMENT...
expect()
{
	local status=$1 out=$2 err=$3 pattern=$4 got

	shift 4
	"$lguest" "$@" >"$dir/out" 2>"$dir/err" </dev/null
	got=$?
	if [ "$got" -ne "$status" ] || [ "$(wc -l <"$dir/err")" -ne "$err" ] ||
		{ [ "$out" = 0 ] && [ -s "$dir/out" ]; } ||
		{ [ "$out" != 0 ] && ! [ -s "$dir/out" ]; } ||
		! cat "$dir/out" "$dir/err" | grep -qE -- "$pattern"; then
		echo "lguest $*: status $got, not $status, or other output than /$pattern/:"
		sed 's/^/    | /' "$dir/out" "$dir/err"
		failed=1
	fi
}

expect 0 some 0 '^Usage: lguest' --help
expect 0 some 0 '^Usage: lguest' -h
expect 0 some 0 '^lguest [0-9]+\.[0-9]+' --version
expect 1 0 1 '^lguest: no memory size given'
expect 1 0 1 '^lguest: no kernel given' 512
expect 1 0 1 '^lguest: memory size "0"' 0 kernel
expect 1 0 1 '^lguest: --nope: unknown option' --nope 512 kernel
expect 1 0 1 'did you mean --initrd' --initr=x 512 kernel
expect 2 0 1 '^lguest: .*/no/such/kernel' 512 /no/such/kernel
expect 2 0 1 '^lguest: .*/no/such/initrd|^lguest: .*README' --initrd=/no/such/initrd 512 "$2/README.md"
expect 1 0 1 '^lguest: --block=x,rw: ' --block=x,rw 512 kernel
expect 1 0 1 '^lguest: --net=usr: ' --net=usr 512 kernel
expect 1 0 1 '^lguest: --tunnet=1.2.3: ' --tunnet=1.2.3 512 kernel
# What the host does not have is found before the guest runs: one line that names the option.
truncate -s 1M "$dir/disk"
expect 2 0 1 '^lguest: --block=/no/such/disk: No such file' --block=/no/such/disk 512 "$2/README.md"
expect 2 0 1 '^lguest: --block=.*directory' --block="$dir" 512 "$2/README.md"
expect 2 0 1 '^lguest: --block=.*already|^lguest: --block=.*lock' --block="$dir/disk" --block="$dir/disk" 512 "$2/README.md"
expect 2 0 1 '^lguest: --block=nbd\+unix:' --block="nbd+unix:///?socket=$dir/none" 512 "$2/README.md"
expect 2 0 1 '^lguest: --net=tap:' --net=tap:lguest-none 512 "$2/README.md"
expect 2 0 1 '^lguest: --tunnet=bridge:' --tunnet=bridge:lguest-none 512 "$2/README.md"
expect 2 0 1 '^lguest: --net=user' --net=user,hostfwd=tcp:192.0.2.77:80-:80 512 "$2/README.md"

# The full disk
"$lguest" --help >/dev/full 2>"$dir/err"
if [ $? -ne 2 ] || ! grep -q '^lguest: standard output: ' "$dir/err"; then
	echo "--help to a full disk goes unnoticed"
	failed=1
fi
exit $failed
