#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# asl2c.sh IASL in.asl out.h: compiles ASL into a C array, static const.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$1" -vs -we -tc -p "$tmp/dsdt" "$2" >"$tmp/log" 2>&1 || { cat "$tmp/log" >&2; exit 1; }
sed -n '/^unsigned char/,/^};/ { s/^unsigned/static const unsigned/; p; }' "$tmp/dsdt.hex" >"$3"
