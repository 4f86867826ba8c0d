# SPDX-License-Identifier: GPL-2.0-or-later
# Compressed, compared as bytes with the native result (by its hash), and back.
size=$1
head -c $size /kit/corpus >in
head -c 50000 /dev/zero >>in
round() {
	"$@" -c in >packed
	md5sum <packed
	"$1" -d -c packed | cmp - in && echo "$* back"
}
for level in 1 6 9; do round gzip -n -$level; done
for level in 1 9; do round bzip2 -$level; done
round xz -T1 -0
[ $size -lt 1000000 ] || round xz -T1 -6
for level in 1 5 19; do round zstd -q -T1 -$level; done
round xz -T1 --format=lzma -1
gzip -n -c in | busybox gunzip -c | cmp - in && echo "busybox gunzip"
bzip2 -c in | busybox bunzip2 -c | cmp - in && echo "busybox bunzip2"
xz -1 -c in | busybox unxz -c | cmp - in && echo "busybox unxz"
# damage must be noticed
gzip -n -c in | tr '\101' '\102' | gzip -d -c >/dev/null 2>&1 || echo "damage noticed"
