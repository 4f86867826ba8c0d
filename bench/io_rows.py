# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests with devices: for the io rows, and Debian's systemd from a disk.

Both engines get the same back ends: a raw file in /dev/shm through io_uring,
libslirp, and a tap interface with a server behind it. The tap and the server
live in a network namespace of the guest's own; where that cannot be made (it
takes root or unprivileged user namespaces, and /dev/net/tun), the tap rows are
left out, with a note.
"""
import os
import random
import shutil
import subprocess
import tempfile

from kit import engines

import image
import rows

PORT = 7070

# In the namespace: $1 io program, $2 port, rest: the engine, which takes the place of this shell
BEHIND = r"""
set -e
ip link set lo up
ip tuntap add dev lgbench0 mode tap
ip addr add 10.77.0.1/24 dev lgbench0
ip link set lgbench0 up
"$1" serve "$2" </dev/null >/dev/null 2>&1 &
shift 2
exec "$@"
"""
PLAIN = r""""$1" serve "$2" </dev/null >/dev/null 2>&1 & shift 2; exec "$@" """

SESSION = r"""#!/bin/sh
for word in $(cat /proc/cmdline); do
	case $word in
	bench.rows=*) BENCH_ROWS=${word#*=} ;;
	bench.port=*) BENCH_PORT=${word#*=} ;;
	esac
done
export BENCH_PORT
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
if ip link set eth1 up 2>/dev/null; then
	ip addr add 10.77.0.2/24 dev eth1
fi
for row in $(echo $BENCH_ROWS | tr , ' '); do
	/kit/brun $row /kit/rows/$row
done
echo "@@ end"
"""


def unshare():
	return ["unshare", "--net"] + ([] if os.geteuid() == 0 else ["--map-root-user"])


def tap_possible():
	done = subprocess.run([*unshare(), "sh", "-c", "ip tuntap add dev lgbench0 mode tap"],
			      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
	return done.returncode == 0


def modules_of(kernel):
	"""The directory that mkinitramfs.sh -m takes, or an error."""
	directory = os.path.dirname(os.path.abspath(kernel))
	if not os.path.isdir(os.path.join(directory, "modules")):
		raise engines.EngineError("%s: the io and systemd rows need its modules beside it (scripts/fetch-kernel.sh)" % kernel)
	return directory


def script(name, *arguments):
	done = subprocess.run([os.path.join(engines.ROOT, "scripts", name), *arguments], stdout=subprocess.PIPE, text=True)
	if done.returncode:
		raise engines.EngineError("scripts/%s failed" % name)
	return done.stdout.strip()


def make_image(kernel, boot_tree):
	"""An initramfs with the io rows and the kernel's virtio modules."""
	out = os.path.join(engines.OUT, "bench")
	path = os.path.join(out, "io-initramfs")
	with tempfile.TemporaryDirectory() as tree:
		kit = os.path.join(tree, "kit")
		os.makedirs(os.path.join(kit, "rows"))
		for source, name in ((os.path.join(out, "io"), "io"), (os.path.join(out, "tree", "kit", "brun"), "brun")):
			shutil.copy(source, os.path.join(kit, name))
		for row in rows.ROWS:
			if row.group == "io":
				image.write_file(os.path.join(kit, "rows", row.name),
						 'case $1 in\nprep)\n%s\n;;\nrun)\n%s\n;;\nesac\n' % (row.prep, row.run))
		image.write_file(os.path.join(tree, "session"), SESSION, 0o755)
		script("mkinitramfs.sh", "-b", os.path.join(boot_tree, "usr/bin/busybox"), "-m", modules_of(kernel), "-a", tree,
		       "-s", os.path.join(tree, "session"), path)
	return path


def make_disks():
	"""A directory with a file of random numbers, the same each time, and one of zeroes: in memory where there is room."""
	free = shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else 0
	directory = tempfile.mkdtemp(prefix="lguest-bench-", dir="/dev/shm" if free > 3 * rows.DISK else engines.OUT)
	numbers = random.Random(1)
	with open(os.path.join(directory, "read"), "wb") as file:
		for _ in range(rows.DISK // rows.MIB):
			file.write(numbers.randbytes(rows.MIB))
	with open(os.path.join(directory, "write"), "wb") as file:
		for _ in range(rows.DISK // rows.MIB):
			file.write(bytes(rows.MIB))
	return directory


def io_guest(engine, options, initramfs, disks, names, with_tap):
	"""Starts a guest that goes through the rows @names."""
	port = PORT if with_tap else random.randint(20000, 30000)
	line = "console=ttyS0 loglevel=1 panic=-1 bench.port=%d bench.rows=%s" % (port, ",".join(names))
	if engine == "lguest":
		argv = [options.lguest, "--no-reboot", "--initrd=" + initramfs, "--block=%s/read" % disks, "--block=%s/write" % disks,
			"--net=user"]
		argv += ["--net=tap:lgbench0"] if with_tap else []
		argv += [str(options.memory), options.kernel, *line.split()]
	else:
		argv = [*engines.QEMU, "-M", "pc", "-m", str(options.memory), "-kernel", options.kernel, "-initrd", initramfs,
			"-append", line, "-object", "iothread,id=io"]
		for name in ("read", "write"):
			argv += ["-drive", "if=none,id=%s,format=raw,aio=io_uring,discard=unmap,file=%s/%s" % (name, disks, name),
				 "-device", "virtio-blk-pci,drive=%s,iothread=io,disable-legacy=on" % name]
		argv += ["-netdev", "user,id=user", "-device", "virtio-net-pci,netdev=user,romfile=,disable-legacy=on"]
		if with_tap:
			argv += ["-netdev", "tap,id=tap,ifname=lgbench0,script=no,downscript=no",
				 "-device", "virtio-net-pci,netdev=tap,romfile=,disable-legacy=on"]
	program = os.path.join(engines.OUT, "bench", "io")
	wrapper = [*unshare(), "sh", "-c", BEHIND] if with_tap else ["sh", "-c", PLAIN]
	return engines.Run([*wrapper, "io", program, str(port), *argv])


def debian_guest(engine, options, initramfs, disk):
	"""Debian's systemd from the disk, which stays as it is."""
	line = "console=ttyS0 quiet root=/dev/vda panic=-1"
	if engine == "lguest":
		extra = ["--block=%s,cow" % disk]
	else:
		extra = ["-drive", "if=none,id=disk,format=raw,snapshot=on,file=" + disk,
			 "-device", "virtio-blk-pci,drive=disk,disable-legacy=on"]
	return engines.guest(engine, options.kernel, initramfs, options.memory, line, extra, options.lguest)
