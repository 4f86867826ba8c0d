#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Makes a small initramfs around Debian's static busybox. Needs no root.
#
#	scripts/mkinitramfs.sh [-b BUSYBOX] [-s SESSION] [-a DIR]... OUTPUT.cpio.gz
#
#	-b BUSYBOX	this busybox, not the host's
#	-s SESSION	a shell script that runs instead of the interactive
#			shell; the guest powers off after it
#	-a DIR		add the files below DIR
#
# The guest's /init mounts the usual file systems, prints the line
# "lguest: userspace up" and then runs, in this order of preference,
#
#	lguest.run=COMMAND  from the kernel command line; with spaces it is
#			    lguest.run="echo hello; free"
#	/etc/session	    that is, SESSION
#	a login shell	    on the console, with job control
#
# and powers off when that ends.
. "$(dirname "$0")/lib.sh"

session=
busybox=
add=()
usage="usage: mkinitramfs.sh [-b BUSYBOX] [-s SESSION] [-a DIR]... OUTPUT.cpio.gz"
while getopts b:s:a: opt; do
	case $opt in
	b) busybox=$OPTARG ;;
	s) session=$OPTARG ;;
	a) add+=("$OPTARG") ;;
	*) die "$usage" ;;
	esac
done
shift $((OPTIND - 1))
[ $# -eq 1 ] || die "$usage"
output=$1

[ "$busybox" ] || busybox=$(command -v busybox) || die "no busybox here (apt-get install busybox-static)"
command -v cpio >/dev/null || die "no cpio here (apt-get install cpio)"

root=$(mktemp -d)
trap 'rm -rf "$root" "$output.tmp"' EXIT
mkdir -p "$root"/{bin,dev,etc,proc,root,sys,tmp,usr}
cp "$busybox" "$root/bin/busybox"
# Links made here, not by "busybox --install" in the guest: that is one exec and 300 system calls less.
"$root/bin/busybox" --list | while read -r applet; do
	[ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
ln -s bin "$root/sbin"
ln -s ../bin "$root/usr/bin"
ln -s ../bin "$root/usr/sbin"
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"
[ -z "$session" ] || install -m 755 "$session" "$root/etc/session"
for dir in ${add[@]+"${add[@]}"}; do
	cp -a "$dir/." "$root/"
done

cat >"$root/init" <<'INIT'
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
# The kernel opens /dev/console for us only where it finds the node in the image.
exec </dev/console >/dev/console 2>&1
export PATH=/bin HOME=/root PS1='lguest# '
cd /root
hostname lguest

cmdline=$(cat /proc/cmdline)
run=
case $cmdline in
*lguest.run=\"*)
	run=${cmdline#*lguest.run=\"}
	run=${run%%\"*}
	;;
*lguest.run=*)
	run=${cmdline#*lguest.run=}
	run=${run%% *}
	;;
esac

echo "lguest: userspace up"
if [ -n "$run" ]; then
	sh -c "$run"
	echo "lguest: session ended with status $?"
elif [ -x /etc/session ]; then
	/etc/session
	echo "lguest: session ended with status $?"
else
	echo "Type 'exit' to power off."
	# A session of its own with the real tty as controlling terminal: /dev/console cannot be one.
	setsid cttyhack sh -l
fi
# Waits until the UART has sent all of it; a power-off does not.
stty -F /dev/console sane
poweroff -f
INIT
chmod 755 "$root/init"

mkdir -p "$(dirname "$output")"
(cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) | gzip -1n >"$output.tmp"
mv "$output.tmp" "$output"
