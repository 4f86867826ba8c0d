#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Makes a root file system of Debian 12 in an ext4 image, without root and
# without mounting anything: mmdebstrap (as root, in a user namespace or under
# fakechroot), then mkfs.ext4 -d under fakeroot. Prints the image's path.
#
#	scripts/mkdebian.sh
#
# systemd, a login prompt on each console that there is, root without a
# password, network by DHCP on each card. No kernel and no modules in it: the
# initramfs of mkinitramfs.sh -m brings them, and takes root=/dev/vda.
#
# The image is the cache: boot it with --block=IMAGE,cow.
. "$(dirname "$0")/lib.sh"

packages="systemd-sysv udev dbus login passwd kmod procps util-linux mount e2fsprogs less
	iproute2 iputils-ping netbase ethtool iperf3 curl ca-certificates rng-tools5 fio"

alone debian
image=$OUT/debian/root.img
key=$(sha256sum <"$0")
if [ "$(cat "$OUT/debian/stamp" 2>/dev/null)" = "$key" ]; then
	echo "$image"
	exit 0
fi
rm -rf "$OUT/debian"
mkdir -p "$OUT/debian"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/tree"

# What mmdebstrap runs with the new root as its argument, before it packs it
cat >"$work/customize" <<'CUSTOMIZE'
#!/bin/sh
set -e
root=$1
chroot "$root" passwd -d root
echo debian >"$root/etc/hostname"
echo '127.0.0.1 localhost debian' >"$root/etc/hosts"
echo '/dev/vda / ext4 rw,relatime 0 1' >"$root/etc/fstab"
mkdir -p "$root/etc/systemd/network" "$root/lib/modules"
cat >"$root/etc/systemd/network/80-dhcp.network" <<'END'
[Match]
Name=e*
[Network]
DHCP=yes
END
chroot "$root" systemctl enable systemd-networkd.service
# A guest that lives for minutes has no use for these.
chroot "$root" systemctl mask systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer \
	dpkg-db-backup.timer e2scrub_all.timer fstrim.timer e2scrub_reap.service
CUSTOMIZE
chmod 755 "$work" "$work/customize"

step "installing Debian into an image (a minute or two)"
# shellcheck disable=SC2086 # a list of words
set -- $packages
quietly mmdebstrap --variant=minbase --include="$(IFS=, && echo "$*")" --customize-hook="$work/customize" \
	--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$work/root.tar" || die "mmdebstrap failed"
# Owners and device nodes as in the archive: real for root, noted down by fakeroot for others
fake=(fakeroot)
[ "$(id -u)" -ne 0 ] || fake=()
truncate -s 3G "$image"
PATH=$PATH:/sbin:/usr/sbin quietly "${fake[@]}" sh -ec "
	tar -x -p --numeric-owner -C '$work/tree' -f '$work/root.tar'
	mkfs.ext4 -q -F -L debian -E lazy_itable_init=0,nodiscard -d '$work/tree' '$image'" || die "mkfs.ext4 failed"
echo "$key" >"$OUT/debian/stamp"
echo "$image"
