# SPDX-License-Identifier: GPL-2.0-or-later
"""The images of the benchmark, made in out/bench/.

  boot.cpio   busybox and an /init that prints one line: for the boot row
  rows.cpio   Debian's programs, the small benchmarks and the rows
  start       a kernel of a few instructions, for the start row
  io          program of the io rows, also their server on the host

The tree that rows.cpio is made from serves the native runs. Both are made
again only when something that they are made of has changed.
"""
import hashlib
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "userland"))

from kit import engines, image, packages  # noqa: E402
import rows  # noqa: E402

MARK = "@@ init"

BOOT_INIT = """#!/bin/busybox sh
echo "%s"
/bin/busybox mount -t proc proc /proc
read up idle </proc/uptime
echo "@@ uptime $up"
/bin/busybox poweroff -f
""" % MARK

ROWS_INIT = """#!/bin/busybox sh
echo "%s"
export PATH=%s HOME=/root
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
busybox mount -t tmpfs tmp /tmp
for word in $(busybox cat /proc/cmdline); do
	case $word in
	bench.rows=*) BENCH_ROWS=${word#*=} ;;
	bench.idle=*) BENCH_IDLE=${word#*=} ;;
	esac
done
export BENCH_ROWS
dash /kit/main
echo "@@ idle"
busybox sleep ${BENCH_IDLE:-0}
echo "@@ end"
busybox poweroff -f
""" % (MARK, engines.KIT_PATH)

MAIN = """cd /tmp
for row in $(echo $BENCH_ROWS | tr , ' '); do
	/kit/brun $row /kit/rows/$row
	rm -rf /tmp/*
done
"""


def write_file(path, text, mode=0o644):
	os.makedirs(os.path.dirname(path), exist_ok=True)
	with open(path, "w") as file:
		file.write(text)
	os.chmod(path, mode)


def inputs_key(extra):
	"""A hash over all that goes into the images."""
	key = hashlib.sha256(repr(extra).encode())
	kit = os.path.dirname(image.__file__)
	for top in (os.path.join(HERE, "src"), os.path.join(HERE, "work"), HERE, kit):
		for name in sorted(os.listdir(top)):
			path = os.path.join(top, name)
			if os.path.isfile(path) and name.endswith((".py", ".c", ".h", ".S", ".pl", ".js", ".sql", ".sh")):
				with open(path, "rb") as file:
					key.update(name.encode() + b"\0" + file.read())
	return key.hexdigest()


def build(log):
	"""Makes what is missing; returns (boot image, rows image, tree)."""
	out = os.path.join(engines.OUT, "bench")
	debs = os.path.join(engines.OUT, "debs")
	boot, big = os.path.join(out, "boot.cpio"), os.path.join(out, "rows.cpio")
	tree, stamp = os.path.join(out, "tree"), os.path.join(out, "stamp")
	names = packages.BASE + packages.PROGRAMS + packages.COMPILERS + packages.NODE
	key = inputs_key(names)
	if os.path.exists(stamp) and open(stamp).read() == key:
		return boot, big, tree
	log("making the images (Debian packages into out/)")
	os.makedirs(out, exist_ok=True)
	paths = packages.fetch(names, debs)

	small = os.path.join(out, "boot-tree")
	packages.unpack([path for path in paths if "busybox-static" in path], small)
	image.make_directories(small)
	write_file(os.path.join(small, "init"), BOOT_INIT, 0o755)
	image.write(small, boot)

	packages.unpack(paths, tree)
	image.make_directories(tree)
	packages.busybox_links(tree)
	kit = os.path.join(tree, "kit")
	shutil.copytree(os.path.join(HERE, "src"), os.path.join(kit, "src"))
	shutil.copytree(os.path.join(HERE, "work"), os.path.join(kit, "work"))
	compile_flags = ["-O2", "-static", "-pthread", "-fno-math-errno"]
	sources = [os.path.join(HERE, "src", name) for name in
		   ("main.c", "cpu.c", "fp.c", "mem.c", "sys.c", "jit.c")]
	subprocess.run(["gcc", *compile_flags, "-o", os.path.join(kit, "micro"), *sources], check=True)
	subprocess.run(["gcc", *compile_flags, "-o", os.path.join(kit, "brun"),
			os.path.join(HERE, "src", "brun.c")], check=True)
	subprocess.run(["gcc", *compile_flags, "-o", os.path.join(out, "io"), os.path.join(HERE, "src", "io.c")], check=True)
	subprocess.run(["gcc", "-nostdlib", "-static", "-no-pie", "-Wl,-Ttext-segment=0x200000,-e,entry,--build-id=none",
			"-o", os.path.join(out, "start"), os.path.join(HERE, "src", "start.S")], check=True)
	subprocess.run(["tar", "-c", "--sort=name", "--mtime=@1700000000", "--owner=0", "--group=0", "--numeric-owner",
			"-f", os.path.join(kit, "corpus"), "-C", os.path.join(tree, "usr"),
			"lib/python3.11", "include/linux", "include/x86_64-linux-gnu"], check=True)
	for row in rows.ROWS:
		write_file(os.path.join(kit, "rows", row.name),
			   'case $1 in\nprep)\n%s\n;;\nrun)\n%s\n;;\nesac\n' % (row.prep, row.run))
	write_file(os.path.join(kit, "main"), MAIN)
	write_file(os.path.join(tree, "init"), ROWS_INIT, 0o755)
	image.write(tree, big)
	write_file(stamp, key)
	return boot, big, tree
