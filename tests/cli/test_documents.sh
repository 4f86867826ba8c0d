#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# --help, the man page and both completions name the same options, and the
# exit statuses of config.h stand in --help, man page and README.
#
#	test_documents.sh <lguest> <source directory>
#
set -eu
lguest=$1
top=$2
failed=0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

words()
{
	LC_ALL=C sort -u >"$dir/$1"
	# Less would mean that the pattern no longer fits.
	[ "$(wc -l <"$dir/$1")" -gt 8 ] || { echo "$1: no options found in it"; failed=1; }
}

"$lguest" --help | sed -n '/^Guest:/,/^Exit status:/p' | grep -oE '(^| )--?[a-zA-Z][a-z-]*' | tr -d ' ' | words help
# .It Fl i , Fl -initrd Ns = ...
sed -nE 's/^\.It (Fl .*)/\1/p' "$top/lguest.1" | grep -oE 'Fl [^ ]+' | sed 's/Fl /-/' | words man
(
	set +eu
	# What it offers after a dash
	complete() { :; }
	compopt() { :; }
	# shellcheck source=/dev/null
	. "$top/completions/lguest.bash"
	COMP_WORDS=(lguest -)
	COMP_CWORD=1
	_lguest
	printf '%s\n' "${COMPREPLY[@]%=}"
) | words bash
grep -oE -- "['{,*]--?[a-zA-Z][a-z-]*" <(sed "s/'(-[^']*)'//" "$top/completions/_lguest") | grep -oE -- '--?[a-zA-Z-]+' | words zsh

for other in man bash zsh; do
	if ! diff -u --label help --label "$other" "$dir/help" "$dir/$other"; then
		echo "--help and $other name different options"
		failed=1
	fi
done

# Exit statuses 0..6
statuses=$(grep -cE '^	EXIT_[A-Z_]+ = [0-9]+,' "$top/src/config.h")
for ((n = 0; n < statuses; n++)); do
	"$lguest" --help | sed -n '/^Exit status:/,/^$/p' | grep -qE "(^|  )$n  " || { echo "--help lacks exit status $n"; failed=1; }
	sed -n '/^\.Sh EXIT STATUS/,/^\.El/p' "$top/lguest.1" | grep -qx "\.It $n" || { echo "lguest.1 lacks exit status $n"; failed=1; }
	grep -qE "^\| $n \|" "$top/README.md" || { echo "README.md lacks exit status $n"; failed=1; }
done
[ "$statuses" -ge 7 ] || { echo "config.h: no exit statuses found in it"; failed=1; }

if command -v mandoc >/dev/null; then
	mandoc -T lint -W warning "$top/lguest.1" || failed=1
fi
exit $failed
