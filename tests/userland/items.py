# SPDX-License-Identifier: GPL-2.0-or-later
"""What runs in the guest and natively, to be compared byte for byte.

Each item is a shell script (dash) that runs in an empty directory of its own;
its standard output, standard error and exit status are the result. Items of
the quick set together take some ten seconds natively; the full set adds the
rest, and more rounds of stress-ng.
"""
import collections

Item = collections.namedtuple("Item", "name quick script")
ITEMS = []

# What the soft engine does not do, and why: such a difference is reported, but not counted.
KNOWN = {
	"alignment-check": "the soft engine raises no #AC (no program of a distribution sets AC in user mode)",
}


def item(name, script, quick=True):
	ITEMS.append(Item(name, quick, script))


def stress(name, operations, extra="", quick=True, full_factor=10):
	"""One stressor of stress-ng, which checks its own results. Of what it
	prints only complaints count; the rest are times and process numbers."""
	def script(count):
		return ("stress-ng --temp-path . --verify --%s 1 --%s-ops %d %s >log 2>&1\n"
			"echo status $?\n"
			"grep -E 'fail|unsupported|unimplemented|incorrect|mismatch|not valid' log | sed 's/[[][0-9]*[]]//g; s/, .*//'\n"
			"true" % (name, name, count, extra))
	if quick:
		item("stress-" + name, script(operations))
	item("stress-%s-long" % name, script(operations * full_factor), quick=False)


for program in ("signals", "smc", "arch", "process"):
	item(program, "exec /kit/bin/" + program)
item("alignment-check", "exec /kit/bin/arch alignment", quick=False)
item("i386-static", "exec /kit/bin/i386")
item("i386-dynamic", "exec /kit/bin/i386-dynamic")

item("python-floats", "exec python3 -S /kit/scripts/floats.py")
item("python-objects", "exec python3 /kit/scripts/objects.py")
item("python-threads", "exec python3 /kit/scripts/threads.py")
item("python-compile", "python3 -m compileall -q -d /x -o 0 -o 1 /usr/lib/python3.11 >/dev/null 2>&1; echo $?; "
     "python3 -c 'import marshal,glob,hashlib; print(hashlib.md5(b\"\".join(open(f,\"rb\").read()[16:] "
     "for f in sorted(glob.glob(\"/usr/lib/python3.11/json/__pycache__/*\")))).hexdigest())'", quick=False)
item("perl", "exec perl /kit/scripts/language.pl")
item("sqlite-memory", "sqlite3 </kit/scripts/database.sql | md5sum; sqlite3 </kit/scripts/database.sql | head -n 40 | cut -c 1-200")
item("sqlite-file", "sqlite3 -bail file.db </kit/scripts/database.sql | sha256sum; sqlite3 file.db 'PRAGMA integrity_check; SELECT count(*), sum(n) FROM b'", quick=False)
item("openssl-known-answers", "exec dash /kit/scripts/openssl.sh")
item("openssl-keys", "exec dash /kit/scripts/keys.sh")
item("compilers", "exec dash /kit/scripts/compilers.sh quick")
item("compilers-full", "exec dash /kit/scripts/compilers.sh full", quick=False)
item("roundtrips", "exec dash /kit/scripts/roundtrips.sh 200000")
item("roundtrips-full", "exec dash /kit/scripts/roundtrips.sh 4000000", quick=False)
item("shell", "exec dash /kit/scripts/shell.sh")

stress("cpu", 90, "--cpu-method all", full_factor=6)
stress("vecmath", 50)
stress("matrix", 200, "--matrix-method all")
stress("memcpy", 10)
stress("vm", 1000, "--vm-bytes 4M --vm-method all", full_factor=20)
stress("fp", 20, "--fp-method all", full_factor=8)
stress("str", 300)
stress("wcs", 100)
stress("vecfp", 5)
stress("vecwide", 50)
stress("vecshuf", 10)
stress("hash", 50)
stress("zlib", 1, full_factor=5)
stress("qsort", 1, "--qsort-size 20000", full_factor=20)
stress("tree", 1, "--tree-size 5000", full_factor=8)
stress("sigsegv", 300)
stress("sigfpe", 300)
stress("sigtrap", 100)
stress("longjmp", 500)
stress("icache", 20)
stress("mmap", 2, "--mmap-bytes 1M")
stress("mremap", 5, "--mremap-bytes 1M")
stress("fork", 20)
stress("futex", 200)
stress("pipe", 2000)
stress("switch", 500)
stress("funccall", 5)
stress("atomic", 20)
stress("goto", 20)
stress("regs", 200)
stress("itimer", 50, "--itimer-freq 200", full_factor=4)
stress("far-branch", 3)
stress("ptrace", 100)
stress("nop", 300)
for name, operations, extra in (
		("matrix-3d", 20, ""), ("stack", 2, ""), ("cacheline", 100, ""), ("memthrash", 2, ""), ("judy", 1, "--judy-size 8192"),
		("rdrand", 500, ""), ("stackmmap", 20, ""), ("crypt", 5, ""), ("opcode", 30, ""), ("branch", 2000, ""), ("vdso", 5000, ""),
		("bsearch", 5, ""), ("heapsort", 1, "--heapsort-size 20000"), ("mergesort", 1, "--mergesort-size 20000"),
		("radixsort", 1, "--radixsort-size 20000"), ("shellsort", 1, "--shellsort-size 20000"), ("hsearch", 1, ""), ("lsearch", 1, ""),
		("tsearch", 1, "--tsearch-size 8192"), ("skiplist", 1, ""), ("list", 20, ""), ("memfd", 5, "--memfd-bytes 1M"),
		("userfaultfd", 500, "--userfaultfd-bytes 4M"), ("vm-rw", 5, "--vm-rw-bytes 1M"), ("shm", 2, "--shm-bytes 1M"), ("clone", 50, ""),
		("vfork", 100, ""), ("pthread", 100, ""), ("mutex", 2000, ""), ("sigq", 500, ""), ("sigpipe", 100, ""),
		("sigio", 100, ""), ("timer", 200, "--timer-freq 1000"), ("nanosleep", 50, ""), ("poll", 100, ""), ("eventfd", 500, ""),
		("msg", 1000, ""), ("mq", 500, ""), ("sock", 20, ""), ("sockpair", 200, ""), ("getrandom", 100, ""), ("dup", 50, ""),
		("fault", 200, ""), ("mprotect", 200, ""), ("madvise", 5, ""), ("mincore", 50, ""), ("mlock", 20, ""), ("brk", 2000, ""),
		("bigheap", 50, "--bigheap-growth 64K"), ("malloc", 2000, ""), ("exec", 20, ""), ("schedpolicy", 100, "")):
	stress(name, operations, extra, quick=False, full_factor=1)
