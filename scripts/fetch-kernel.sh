#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Downloads a Debian kernel package and unpacks it below out/; installs nothing.
# Prints the path of the kernel image. Beside it land the configuration and, for
# mkinitramfs.sh -m, the modules with their index (lib/modules/VERSION).
#
#	scripts/fetch-kernel.sh cloud61|generic61|cloud612|pae61
#
# pae61 is a 32-bit kernel; a 32-bit busybox for its initramfs lands beside it.
. "$(dirname "$0")/lib.sh"

apt=()
busybox=
case ${1:-} in
cloud61) pattern='^linux-image-6\.1\.0-[0-9]+-cloud-amd64$' ;;
generic61) pattern='^linux-image-6\.1\.0-[0-9]+-amd64$' ;;
cloud612) pattern='^linux-image-6\.12\.[^-]*-cloud-amd64$' ;;
pae61)
	pattern='^linux-image-6\.1\.0-[0-9]+-686-pae$'
	busybox="busybox-static"
	# Package lists of our own, so that the system's need not learn another architecture.
	lists=$OUT/apt-i386
	mkdir -p "$lists/lists/partial" "$lists/cache/archives/partial"
	apt=(-o APT::Architecture=i386 -o APT::Architectures=i386 -o Acquire::Languages=none
		-o Dir::State::lists="$lists/lists" -o Dir::Cache="$lists/cache")
	;;
*) die "which kernel? (cloud61, generic61, cloud612 or pae61)" ;;
esac
# As root apt would drop to a user who may not write here, and warn.
apt+=(-o APT::Sandbox::User="$(id -un)")

dir=$OUT/kernel/$1

# index DIRECTORY: modules.dep and the like, which the package leaves to its installation
index()
{
	local version

	version=$(cat "$1/version")
	mkdir -p "$1/lib"
	ln -sfn ../modules "$1/lib/modules"
	[ -e "$1/modules/$version/modules.dep" ] || PATH=$PATH:/sbin:/usr/sbin depmod -b "$1" "$version" ||
		die "depmod failed (apt-get install kmod)"
}

if [ -s "$dir/vmlinuz" ]; then
	index "$dir"
	echo "$dir/vmlinuz"
	exit 0
fi

newest()
{
	apt-cache "${apt[@]}" --names-only search "$pattern" | cut -d' ' -f1 | sort -V | tail -n 1
}

update()
{
	if [ "${busybox:-}" ]; then
		quietly apt-get "${apt[@]}" -q update
	else
		quietly as_root apt-get -q update
	fi
}

# download PACKAGE: into the current directory
download()
{
	quietly apt-get "${apt[@]}" -q download "$1" 2>/dev/null && return
	# The list may be older than what the mirror still has.
	update 2>/dev/null || true
	quietly apt-get "${apt[@]}" -q download "$1" || die "apt-get could not download $1"
}

package=$(newest)
if [ -z "$package" ]; then
	update 2>/dev/null || true
	package=$(newest)
fi
[ -n "$package" ] || die "apt-get knows no package like $pattern (Debian 12 with bookworm-security has it)"

step "downloading $package"
work=$dir.tmp.$$
trap 'rm -rf "$work"' EXIT
rm -rf "$dir" && mkdir -p "$work"
(
	cd "$work"
	download "$package"
	dpkg-deb --fsys-tarfile ./*.deb | tar -x --no-same-owner ./boot ./lib/modules
	rm ./*.deb
	if [ "$busybox" ]; then
		download "$busybox"
		dpkg-deb --fsys-tarfile ./*.deb | tar -x --no-same-owner ./bin/busybox
		mv bin/busybox busybox
		rm -r ./*.deb bin
	fi
)
image=$(echo "$work"/boot/vmlinuz-*)
mv "$image" "$work/vmlinuz"
mv "$work"/boot/config-* "$work/config"
mv "$work"/lib/modules "$work/modules"
rm -rf "${work:?}/boot" "${work:?}/lib"
echo "${image##*/vmlinuz-}" >"$work/version"
index "$work"
mv "$work" "$dir"
echo "$dir/vmlinuz"
