# SPDX-License-Identifier: GPL-2.0-or-later
"""What a running engine costs besides the guest's own memory: /proc/PID/smaps.

Guest RAM is the mapping (or the mappings of the one file) as large as the
guest's memory. Everything else that is resident counts, shared libraries as
well. A memfd that is mapped twice in one process, as a code cache is that must
never be writable and executable at one address, counts once: by its
proportional share, which smaps gives per mapping.
"""
import os
import re
import time


def mappings(pid):
	"""Yields (size, name, rss, pss, executable); sizes in KiB."""
	entry = None
	with open("/proc/%d/smaps" % pid) as file:
		for line in file:
			head = re.match(r"^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)$", line)
			if head:
				if entry:
					yield entry
				size = (int(head.group(2), 16) - int(head.group(1), 16)) >> 10
				entry = [size, head.group(4), 0, 0, "x" in head.group(3)]
			elif entry and line.startswith("Rss:"):
				entry[2] = int(line.split()[1])
			elif entry and line.startswith("Pss:"):
				entry[3] = int(line.split()[1])
	if entry:
		yield entry


def split(pid, memory_mib):
	"""(guest RAM resident, everything else resident), in MiB."""
	found = list(mappings(pid))
	# QEMU's code cache is as large as this guest, but executable
	largest = max((entry for entry in found if not entry[4]), key=lambda entry: entry[0], default=None)
	if not largest:  # a process that has just ended
		return None
	named = largest[1]
	ram = other = 0
	for entry in found:
		_, name, rss, pss, _ = entry
		if entry is largest or (named and name == named and "memfd" in named):
			ram += pss if "memfd" in name else rss
		else:
			other += pss if "memfd" in name else rss
	if largest[0] < memory_mib * 1024 * 3 // 4:
		return None
	return ram / 1024, other / 1024


def thread_seconds(pid):
	"""CPU time, to the nanosecond while all threads live, else to the clock tick."""
	total = 0
	try:
		for thread in os.listdir("/proc/%d/task" % pid):
			with open("/proc/%d/task/%s/schedstat" % (pid, thread)) as file:
				total += int(file.read().split()[0])
	except OSError:
		pass
	try:
		return max(total / 1e9, cpu_seconds(pid) - 0.02)
	except (OSError, IndexError):
		return total / 1e9


def cpu_seconds(pid):
	with open("/proc/%d/stat" % pid) as file:
		fields = file.read().rsplit(")", 1)[1].split()
	return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(pid, memory_mib, seconds):
	"""Watches an idle guest for @seconds. None when it went away meanwhile."""
	try:
		time.sleep(0.5)
		before, start = cpu_seconds(pid), time.monotonic()
		parts = split(pid, memory_mib)
		# reading smaps takes the process's mmap lock, not its CPU time
		time.sleep(max(0, seconds - 1))
		used, elapsed = cpu_seconds(pid) - before, time.monotonic() - start
	except (OSError, IndexError):
		return None
	if parts is None:
		return None
	return {"ram": parts[0], "beyond": parts[1], "idle": 100 * used / elapsed}
