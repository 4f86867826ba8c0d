#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Makes a small initramfs around Debian's static busybox. Needs no root.
#
#	scripts/mkinitramfs.sh [-b BUSYBOX] [-s SESSION] [-a DIR]... [-m KERNEL [-k MODULE]...] [-u] OUTPUT
#
#	-b BUSYBOX	this busybox, not the host's
#	-s SESSION	a shell script that runs instead of the interactive
#			shell; the guest powers off after it
#	-a DIR		add the files below DIR
#	-m KERNEL	add the virtio and ext4 modules of a kernel from
#			fetch-kernel.sh (the directory: out/kernel/cloud61), as
#			far as they are modules there
#	-k MODULE	and this one, with what it needs
#	-u		do not compress: larger images start faster
#
# The guest's /init mounts the usual file systems, loads the drivers of the
# virtio devices that it finds on the PCI bus (none, and nothing is loaded:
# each module costs milliseconds), prints the line "lguest: userspace up" and
# then runs, in this order of preference,
#
#	root=DEVICE	    from the kernel command line: mounts it, and
#			    hands over to its /sbin/init
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
kernel=
modules="virtio_pci virtio_blk virtio_net virtio_console virtio-rng ext4"
compress=(gzip -1n)
usage="usage: mkinitramfs.sh [-b BUSYBOX] [-s SESSION] [-a DIR]... [-m KERNEL [-k MODULE]...] [-u] OUTPUT"
while getopts b:s:a:m:k:u opt; do
	case $opt in
	b) busybox=$OPTARG ;;
	s) session=$OPTARG ;;
	a) add+=("$OPTARG") ;;
	m) kernel=$OPTARG ;;
	k) modules+=" $OPTARG" ;;
	u) compress=(cat) ;;
	*) die "$usage" ;;
	esac
done
shift $((OPTIND - 1))
[ $# -eq 1 ] || die "$usage"
output=$1

[ "$busybox" ] || busybox=$(command -v busybox) || die "no busybox here (apt-get install busybox-static)"
command -v cpio >/dev/null || die "no cpio here (apt-get install cpio)"

root=$(mktemp -d)
trap 'rm -rf "$root" "$output.$$"' EXIT
mkdir -p "$root"/{bin,dev,etc,mnt,proc,root,run,sbin,sys,tmp,usr/bin,usr/sbin}
for dir in ${add[@]+"${add[@]}"}; do
	cp -a "$dir/." "$root/"
done
cp "$busybox" "$root/bin/busybox"
# Links made here, not by "busybox --install" in the guest: that is one exec and 300 system calls less.
"$root/bin/busybox" --list | while read -r applet; do
	for dir in bin sbin usr/bin usr/sbin; do
		[ ! -e "$root/$dir/$applet" ] && [ ! -L "$root/$dir/$applet" ] || continue 2
	done
	ln -s busybox "$root/bin/$applet"
done
# The kernel calls it by this name when it wants a module.
[ -e "$root/sbin/modprobe" ] || ln -s ../bin/busybox "$root/sbin/modprobe"
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"
# What "udhcpc -i eth0" does with its lease
mkdir -p "$root/etc/udhcpc"
cat >"$root/etc/udhcpc/default.script" <<'DHCP'
#!/bin/sh
case $1 in
deconfig) ip link set "$interface" up ;;
bound | renew)
	ip addr flush dev "$interface"
	ip addr add "$ip/${mask:-24}" dev "$interface"
	[ -z "$router" ] || ip route replace default via "${router%% *}" dev "$interface"
	for server in $dns; do
		echo "nameserver $server"
	done >/etc/resolv.conf
	;;
esac
DHCP
chmod 755 "$root/etc/udhcpc/default.script"
[ -z "$session" ] || install -m 755 "$session" "$root/etc/session"

# add_modules: those of $modules that are no part of the kernel, with all that they need, and an index of them
add_modules()
{
	local version module file

	version=$(cat "$kernel/version" 2>/dev/null) || die "$kernel: no kernel of fetch-kernel.sh"
	PATH=$PATH:/sbin:/usr/sbin
	for module in $modules; do
		modprobe -d "$kernel" -S "$version" -D "$module" || die "$kernel: no module $module"
	done | sed -n 's/^insmod *//p' | sort -u | while read -r file; do
		module=$root/lib/modules/$version/${file#*"/lib/modules/$version/"}
		mkdir -p "${module%/*}"
		case $file in
		*.xz) xz -dc "$file" >"${module%.xz}" ;;
		*.zst) zstd -qdc "$file" >"${module%.zst}" ;;
		*) cp "$file" "$module" ;;
		esac
	done
	mkdir -p "$root/lib/modules/$version"
	cp "$kernel/modules/$version"/modules.{order,builtin,builtin.modinfo} "$root/lib/modules/$version"
	depmod -b "$root" "$version"
	# busybox reads the text files only.
	(cd "$root/lib/modules/$version" && rm -f modules.*.bin modules.{devname,order,builtin.modinfo})
}
[ -z "$kernel" ] || add_modules

cat >"$root/init" <<'INIT'
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root PS1='lguest# '

# Drivers for what is on the bus, by device number (virtio 1.2, 4.1.2), the transitional numbers too. No process
# is started unless there is something to load.
modules=
for device in /sys/bus/pci/devices/*; do
	read vendor <$device/vendor
	[ "$vendor" = 0x1af4 ] || continue
	read number <$device/device
	case $number in
	0x1041 | 0x1000) modules="$modules virtio_net" ;;
	0x1042 | 0x1001) modules="$modules virtio_blk" ;;
	0x1043 | 0x1003) modules="$modules virtio_console" ;;
	0x1044 | 0x1005) modules="$modules virtio-rng" ;;
	esac
done 2>/dev/null
[ -z "$modules" ] || modprobe -qa virtio_pci $modules

# The driver of the console may be one of those modules, and a device with several ports says later what they are.
read -r cmdline </proc/cmdline
case $cmdline in
*console=hvc*)
	for try in 1 2 3 4 5 6 7 8 9 10; do
		[ -e /sys/class/tty/console/active ] || break # before Linux 2.6.37
		read active </sys/class/tty/console/active
		case $active in
		*hvc*) break ;;
		esac
		sleep 0.1
	done
	;;
esac
# The kernel opens it for us only where it finds the node in the image.
exec </dev/console >/dev/console 2>&1
cd /root
hostname lguest
ip link set lo up

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
disk=
case " $cmdline" in
*" root="*)
	disk=${cmdline#*root=}
	disk=${disk%% *}
	;;
esac

echo "lguest: userspace up"
if [ -n "$disk" ]; then
	mode=rw
	case " $cmdline " in
	*" ro "*) mode=ro ;;
	esac
	if mount -t ext4 -o $mode "$disk" /mnt; then
		# Ours are few, but they are this kernel's.
		[ ! -d /lib/modules ] || mount --bind /lib/modules /mnt/lib/modules
		for dir in dev/pts dev proc sys; do
			umount /$dir
		done
		exec switch_root /mnt /sbin/init
	fi
	echo "lguest: $disk cannot be mounted; a shell instead"
	run=
fi
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
(cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) | "${compress[@]}" >"$output.$$"
mv "$output.$$" "$output"
