#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Shows what lguest is for, from nothing: installs what is needed, builds,
# fetches Debian's kernel, makes a small initramfs and a disk, and boots to a
# shell on this terminal. Before the prompt the guest tries its devices: makes a
# file system on the disk, gets an address and a page from a server on this
# host, reads random numbers. When standard input is not a terminal, it powers
# off after that.
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

work=$(mktemp -d)
trap '[ -z "${server:-}" ] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT

# The page, and a server for it that only this host can reach; the guest knows this host as 10.0.2.2.
mkdir -p "$work/www" "$work/tree/etc"
echo "Hello from $(uname -n), which runs Linux $(uname -r)." >"$work/www/index.html"
for try in 1 2 3 4 5; do
	port=$((RANDOM % 20000 + 20000))
	busybox httpd -f -p "127.0.0.1:$port" -h "$work/www" >/dev/null 2>&1 &
	server=$!
	sleep 0.2
	kill -0 "$server" 2>/dev/null && break
	[ "$try" -lt 5 ] || die "busybox httpd does not start"
done

cat >"$work/tree/etc/tour" <<TOUR
#!/bin/sh
show()
{
	echo "\\$ \$*"
	sh -c "\$*"
}
show uname -srm
show "grep -m1 'model name' /proc/cpuinfo"
show tty
show "mke2fs /dev/vda >/dev/null && mount /dev/vda /mnt && df -h /mnt"
show "udhcpc -q -n -i eth0 2>&1 | tail -n 1; wget -q -O - http://10.0.2.2:$port/"
show "head -c 16 /dev/hwrng | od -A n -t x1"
show "seq 1 100000 | tee /mnt/numbers | sha256sum"
show cat /proc/uptime
TOUR
chmod 755 "$work/tree/etc/tour"
echo /etc/tour >"$work/tree/etc/profile"
"$TOP/scripts/mkinitramfs.sh" -m "$OUT/kernel/$kernel" -a "$work/tree" "$OUT/initramfs.cpio.gz"
truncate -s 0 "$OUT/disk.img"
truncate -s 256M "$OUT/disk.img"

append=(console=hvc0 quiet)
if ! [ -t 0 ]; then
	append+=(lguest.run=/etc/tour)
fi
set -- "$@" "--initrd=$OUT/initramfs.cpio.gz" "--block=$OUT/disk.img" --net=user --rng 512 "$image" "${append[@]}"
step "build/src/lguest $*"
status=0
"$build/src/lguest" "$@" || status=$?
exit "$status"
