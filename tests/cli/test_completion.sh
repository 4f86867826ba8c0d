#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The bash completion offers what fits at each place; the zsh one is parsed.
#
#	test_completion.sh <lguest> <source directory>
#
top=$2
failed=0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
touch vmlinuz-1 initrd.gz

complete() { :; }
compopt() { :; }
# shellcheck source=/dev/null
. "$top/completions/lguest.bash"

# offers WANTED WORD...: completing the last word
offers()
{
	local wanted=$1

	shift
	COMP_WORDS=(lguest "$@")
	COMP_CWORD=$#
	_lguest
	if [ "${COMPREPLY[*]}" != "$wanted" ]; then
		echo "lguest $*: offers '${COMPREPLY[*]}', not '$wanted'"
		failed=1
	fi
}

offers "--engine=" --en
offers "--no-reboot --no-host-decompress" --no
offers "soft" --engine = so
offers "auto soft lguest" --engine =
offers "pc" --platform = p
offers "both ctrl-a interrupts none" --escape =
offers "--block=" --bl
offers "initrd.gz" --block = ini
offers "initrd.gz" -b ini
offers "user" --net = u
offers "bridge:" -t b
offers "512" -b initrd.gz --net = user --rng 5
offers "auto" --engine a
offers "initrd.gz" --initrd = in
offers "initrd.gz" -i in
offers "initrd.gz" -v -i in
offers "256 2G" 2
offers "512" -v --initrd = initrd.gz 5
offers "vmlinuz-1" 512 vm
offers "vmlinuz-1" --engine = soft 512 vm
offers "vmlinuz-1" -i initrd.gz 512 vm
offers "console=ttyS0 console=hvc0" 512 vmlinuz-1 con
offers "" 512 vmlinuz-1 --en

if command -v zsh >/dev/null; then
	zsh -n "$top/completions/_lguest" || failed=1
fi
exit $failed
