#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Shows what lguest is for, from nothing: installs what is needed, builds,
# fetches Debian's kernel, makes a small initramfs and boots to a shell on this
# terminal. When standard input is not a terminal, a short session runs in
# place of the shell, and the guest powers off.
#
#	scripts/demo.sh [cloud61|generic61|cloud612] [lguest options]
#
. "$(dirname "$0")/lib.sh"

kernel=cloud61
case ${1:-} in
-*) ;;
?*) kernel=$1 && shift ;;
esac

"$TOP/scripts/setup.sh" build demo
build=$TOP/build
if ! [ -f "$build/build.ninja" ]; then
	step "configuring $build"
	quietly meson setup "$build" "$TOP" || die "meson failed"
fi
step "building"
quietly ninja -C "$build" src/lguest || die "the build failed"
image=$("$TOP/scripts/fetch-kernel.sh" "$kernel")
"$TOP/scripts/mkinitramfs.sh" "$OUT/initramfs.cpio.gz"

append=(console=ttyS0)
if ! [ -t 0 ]; then
	append+=('lguest.run="uname -srm; grep -m1 model.name /proc/cpuinfo; free -m; seq 1 100000 | sha256sum; cat /proc/uptime"')
fi
set -- "$@" "--initrd=$OUT/initramfs.cpio.gz" 512 "$image" "${append[@]}"
step "build/src/lguest $*"
exec "$build/src/lguest" "$@"
