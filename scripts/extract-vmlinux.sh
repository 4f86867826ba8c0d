#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Unpacks the vmlinux inside a bzImage, with the ordinary command-line tools:
# a second opinion beside lguest's own decompressor.
#
#	scripts/extract-vmlinux.sh <bzImage> <vmlinux>
#
. "$(dirname "$0")/lib.sh"

[ $# -eq 2 ] || die "usage: extract-vmlinux.sh <bzImage> <vmlinux>"
image=$1
to=$2

# field OFFSET SIZE: an unsigned little-endian number of the setup header
field()
{
	od -An -v -j $(($1)) -N "$2" -t "u$2" --endian=little "$image" | tr -d ' '
}

[ -r "$image" ] || die "$image: cannot read it"
[ "$(od -An -c -j $((0x202)) -N 4 "$image" | tr -d ' ')" = HdrS ] || die "$image: not a bzImage"

# Boot protocol 2.08: payload_offset counts from the end of the setup sectors.
setup_sects=$(field 0x1f1 1)
[ "$setup_sects" -ne 0 ] || setup_sects=4
start=$(((setup_sects + 1) * 512 + $(field 0x248 4)))
length=$(field 0x24c 4)

payload()
{
	tail -c +$((start + 1)) "$image" | head -c "$1"
}

# All but gzip have their unpacked size appended to them, which is not theirs.
set +o pipefail # head closes the pipe early
magic=$(payload 6 | od -An -t x1 | tr -d ' ')
case $magic in
1f8b*) payload "$length" | gzip -dc >"$to" ;;
fd377a585a00) payload $((length - 4)) | xz -dc >"$to" ;;
28b52ffd*) payload $((length - 4)) | zstd -qdc >"$to" ;;
02214c18*) payload $((length - 4)) | lz4 -dc >"$to" ;;
425a68*) payload $((length - 4)) | bzip2 -dc >"$to" ;;
*) die "$image: unknown compression (magic $magic)" ;;
esac
[ "$(head -c 4 "$to" | od -An -c | tr -d ' ')" = 177ELF ] || die "$image: what came out is not ELF"
