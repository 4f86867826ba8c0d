#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Debian programs that the system tests run inside a guest: unpacked, with all
# that they need, into a directory that mkinitramfs.sh -a takes. Nothing is
# installed; no root is needed. Prints the path of the directory.
#
#	scripts/mktools.sh
#
. "$(dirname "$0")/lib.sh"

packages="coreutils util-linux mount procps kmod e2fsprogs fio rng-tools5
	iproute2 iputils-ping bridge-utils ethtool iperf3 curl ca-certificates"

alone tools
tree=$OUT/tools/tree
key=$(sha256sum <"$0")
if [ "$(cat "$OUT/tools/stamp" 2>/dev/null)" = "$key" ]; then
	echo "$tree"
	exit 0
fi

step "unpacking Debian packages for the guests of the tests"
rm -rf "$OUT/tools"
mkdir -p "$tree"
# shellcheck disable=SC2086 # a list of words
set -- $packages
quietly mmdebstrap --variant=extract --include="$(IFS=, && echo "$*")" bookworm "$OUT/tools/tree.tar" ||
	die "mmdebstrap failed"
# What none of them needs to run: interpreters that packages use when they are installed, documentation, translations.
tar -x -C "$tree" -f "$OUT/tools/tree.tar" --no-same-owner --no-same-permissions \
	--exclude='./dev/*' --exclude='./usr/share/*' --exclude='./var/*' --exclude='./usr/lib/python3*' --exclude='*/gconv' \
	--exclude='*/perl*' --exclude='*/libperl.so*' --exclude='./usr/bin/python3*' --exclude='./usr/bin/git*'
rm -f "$OUT/tools/tree.tar"
echo "$key" >"$OUT/tools/stamp"
echo "$tree"
