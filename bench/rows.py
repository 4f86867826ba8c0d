# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of the table: what each one runs, and what it counts for.

Rows of the group io run in a guest of their own (io.py), and not natively;
their output must be the same under all engines. `unit` is what they are
reported in: (number, name), bytes or round trips.

`prep` is not timed, `run` is; both are shell (dash) inside the tree that
image.py makes, with /kit/corpus (a tar of Python's library and C headers) as
input where bytes are needed. Each takes about a third of a second natively, so
that an engine twenty times slower still ends the table in minutes. A row's
standard output must be the same on every engine.
"""
import collections

Row = collections.namedtuple("Row", "name group prep run unit")
ROWS = []


def row(name, group, run, prep=":", unit=None):
	ROWS.append(Row(name, group, prep, run, unit))


def micro(name, group):
	row(name, group, "exec /kit/micro " + name)


NO_SHA = "OPENSSL_ia32cap=:~0x20000000"
NO_AES = "OPENSSL_ia32cap=~0x200000200000000:~0x60000000000"
BLOB = "for i in 1 2 3 4 5 6 7 8; do cat /kit/corpus; done | head -c 67108864 >/tmp/blob"
CBC = "openssl enc -aes-128-cbc -K 000102030405060708090a0b0c0d0e0f -iv 00000000000000000000000000000001"

# CPU-bound
row("shell", "cpu", "exec dash /kit/work/shell.sh 150000")
micro("int", "cpu")
micro("sort", "cpu")
micro("calls", "cpu")
micro("chase", "cpu")
micro("strings", "cpu")
micro("fp", "cpu")
micro("avx", "cpu")
micro("x87", "cpu")
row("sha256", "cpu", "for i in 1 2 3 4; do openssl dgst -sha256 /tmp/blob; done", BLOB)
row("sha256-plain", "cpu", "%s openssl dgst -sha256 /tmp/blob" % NO_SHA, BLOB)
row("aes", "cpu", "for i in 1 2 3; do %s -bufsize 65536 -in /tmp/blob -out /dev/null; done" % CBC, BLOB)
row("aes-plain", "cpu", "head -c 16777216 /tmp/blob | %s %s -bufsize 65536 | tail -c 64" % (NO_AES, CBC), BLOB)
row("gzip", "cpu", "exec gzip -6 -n -c /tmp/in", "head -c 7000000 /kit/corpus >/tmp/in")
row("gunzip", "cpu", "for i in 1 2 3 4 5 6; do gzip -d -c /tmp/in.gz; done | tail -c 4096",
    "head -c 8000000 /kit/corpus | gzip -6 -n >/tmp/in.gz")
row("xz", "cpu", "exec xz -T1 -3 -c /tmp/in", "head -c 2500000 /kit/corpus >/tmp/in")
row("zstd", "cpu", "exec zstd -q -9 -T1 -c /tmp/in", "head -c 6000000 /kit/corpus >/tmp/in")
row("python", "cpu", "exec python3 -S -E -B /kit/work/python.py 400", "python3 -S -E -B -c pass")
row("perl", "cpu", "exec perl /kit/work/perl.pl 800", "perl -e 1")
row("sqlite", "cpu", "sqlite3 /tmp/db </kit/work/sqlite.sql", "rm -f /tmp/db")
row("gcc", "cpu", "cd /kit/src && for f in cpu fp; do gcc -O2 -S -o - $f.c; done", "gcc -O2 -S -o - /kit/src/jit.c")
row("tcc", "cpu", "cd /kit/src && for i in 1 2 3 4 5 6 7 8; do for f in cpu mem sys jit main; do "
    "tcc -c -o /tmp/$f.o $f.c && cat /tmp/$f.o; done; done", "tcc -c -o /tmp/main.o /kit/src/main.c")

# System
micro("exec", "system")
row("spawn", "system", "i=0; while [ $i -lt 250 ]; do i=$((i+1)); /bin/busybox true; x=$(/bin/busybox echo $i); done; echo $x")
micro("pipe", "system")
micro("futex", "system")
micro("yield", "system")
micro("syscalls", "system")
micro("signals", "system")
micro("segv", "system")
micro("faults", "system")
micro("cow", "system")
micro("memcpy", "system")
row("tar", "system", "cd /tmp && for i in 1 2; do rm -rf x && mkdir x && tar -xf /kit/corpus -C x && tar -cf t.tar x; done; "
    "find x -type f | wc -l; ls -l t.tar | cut -d ' ' -f 5", "tar -tf /kit/corpus >/dev/null")

# Code written at run time
micro("jit", "jit")
row("node", "jit", "exec node /kit/work/node.js 40", "node -e 1")

# Disks and networks. The disks are files in memory: /dev/vda to read, /dev/vdb to write. The networks lead to a
# server on the host.
MIB = 1 << 20
DISK = 256 * MIB


def disk(name, kind, count, size, depth, random=""):
	"""Requests past the guest's page cache."""
	row(name, "io", "exec /kit/io disk %s %s %d %d %d %s" % ("/dev/vda" if kind == "read" else "/dev/vdb", kind, count, size,
								 depth, random),
	    unit=(count * size, "bytes") if size > 4096 else (count, "requests"))


def net(name, address, kind, count):
	row(name, "io", "exec /kit/io net %s $BENCH_PORT %s %d" % (address, kind, count),
	    unit=(count, "round trips" if kind == "ping" else "bytes"))


row("disk-read", "io", "for i in 1 2; do blockdev --flushbufs /dev/vda; dd if=/dev/vda of=/dev/null bs=64k; done", unit=(2 * DISK, "bytes"))
row("disk-write", "io", "dd if=/dev/zero of=/dev/vdb bs=64k count=%d conv=fsync" % (DISK >> 16), unit=(DISK, "bytes"))
disk("disk-read-64k", "read", 16384, 65536, 4)
disk("disk-write-64k", "write", 8192, 65536, 4)
disk("disk-read-4k", "read", 12000, 4096, 1, "random")
disk("disk-read-4k-32", "read", 50000, 4096, 32, "random")
disk("disk-write-4k-32", "write", 40000, 4096, 32, "random")
disk("disk-sync-4k", "sync", 6000, 4096, 1, "random")
net("net-user-down", "10.0.2.2", "down", 100 * MIB)
net("net-user-up", "10.0.2.2", "up", 100 * MIB)
net("net-user-ping", "10.0.2.2", "ping", 3000)
net("net-tap-down", "10.77.0.1", "down", 400 * MIB)
net("net-tap-up", "10.77.0.1", "up", 600 * MIB)
net("net-tap-ping", "10.77.0.1", "ping", 6000)
