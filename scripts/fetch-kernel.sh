#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Downloads a Debian kernel package and unpacks it below out/; installs nothing.
# Prints the path of the kernel image.
#
#	scripts/fetch-kernel.sh cloud61|generic61|cloud612
#
. "$(dirname "$0")/lib.sh"

case ${1:-} in
cloud61) pattern='^linux-image-6\.1\.0-[0-9]+-cloud-amd64$' ;;
generic61) pattern='^linux-image-6\.1\.0-[0-9]+-amd64$' ;;
cloud612) pattern='^linux-image-6\.12\.[^-]*-cloud-amd64$' ;;
*) die "which kernel? (cloud61, generic61 or cloud612)" ;;
esac

dir=$OUT/kernel/$1
if [ -s "$dir/vmlinuz" ]; then
	echo "$dir/vmlinuz"
	exit 0
fi

newest()
{
	apt-cache --names-only search "$pattern" | cut -d' ' -f1 | sort -V | tail -n 1
}

package=$(newest)
if [ -z "$package" ]; then
	quietly as_root apt-get -q update || true
	package=$(newest)
fi
[ -n "$package" ] || die "apt-get knows no package like $pattern (Debian 12 with bookworm-security has it)"

step "downloading $package"
work=$dir.tmp.$$
trap 'rm -rf "$work"' EXIT
rm -rf "$dir" && mkdir -p "$work"
(
	cd "$work"
	# As root apt would drop to a user who may not write here, and warn.
	quietly apt-get -q -o APT::Sandbox::User="$(id -un)" download "$package" ||
		{ quietly as_root apt-get -q update; quietly apt-get -q download "$package"; } ||
		die "apt-get could not download $package"
	dpkg-deb --fsys-tarfile ./*.deb | tar -x --no-same-owner ./boot ./lib/modules
	rm ./*.deb
)
image=$(echo "$work"/boot/vmlinuz-*)
mv "$image" "$work/vmlinuz"
mv "$work"/boot/config-* "$work/config"
mv "$work"/lib/modules "$work/modules"
rm -rf "${work:?}/boot" "${work:?}/lib"
echo "${image##*/vmlinuz-}" >"$work/version"
mv "$work" "$dir"
echo "$dir/vmlinuz"
