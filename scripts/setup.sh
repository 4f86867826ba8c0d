#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Installs what building and testing lguest needs, on Debian 12 and later.
# Does nothing when all of it is there. Root, or somebody who may use sudo.
#
#	scripts/setup.sh [build] [demo] [test] [bench]	default: build test
#
. "$(dirname "$0")/lib.sh"

BUILD="gcc libc6-dev meson ninja-build pkg-config
	libzydis-dev liburing-dev libslirp-dev libglib2.0-dev libnbd-dev libcmocka-dev liblzma-dev libzstd-dev liblz4-dev zlib1g-dev acpica-tools"
# The demo's guest: a kernel package to unpack and a small user space
DEMO="busybox-static cpio kmod xz-utils zstd"
TEST="$DEMO nbdkit qemu-utils mount mmdebstrap fakeroot fakechroot e2fsprogs iproute2 iperf3 util-linux clang clang-format-14 libclang-rt-14-dev valgrind python3 shellcheck mandoc lz4 zsh"
BENCH="$DEMO gcc libc6-dev qemu-system-x86 python3 iproute2 mmdebstrap fakeroot fakechroot e2fsprogs"

wanted=
for part in "${@:-build test}"; do
	for p in $part; do
		case $p in
		build) wanted+=" $BUILD" ;;
		demo) wanted+=" $DEMO" ;;
		test) wanted+=" $TEST" ;;
		bench) wanted+=" $BENCH" ;;
		*) die "$p: no such part (build, demo, test, bench)" ;;
		esac
	done
done

missing=
for package in $wanted; do
	case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
	installed) ;;
	*) missing+=" $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null || die "no apt-get here (install by hand:$missing)"
step "installing with apt-get:$missing"
export DEBIAN_FRONTEND=noninteractive
quietly as_root apt-get -q update 2>/dev/null || step "apt-get update failed, going on with the lists that are there"
# shellcheck disable=SC2086 # a list of words
quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends $missing ||
	die "apt-get could not install:$missing"
