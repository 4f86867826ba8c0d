# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a guest, or the same tree natively, and read what it prints.

Every engine comes down to a child process whose standard output is the
console. Run.lines() yields (host time, text) for each line, so that a caller
measures by its own clock what a guest's clock may get wrong. The three:

  lguest   build/src/lguest, or $LGUEST
  qemu     qemu-system-x86_64 -accel tcg -cpu max, one vCPU, no device but a
           serial port (its firmware then has nothing to probe: the fastest boot
           that `-M pc` has); qemu-microvm is the same on `-M microvm`
  native   the tree copied to a tmpfs of its own, entered by chroot in fresh
           mount and PID namespaces with an empty environment, on one CPU
"""
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
OUT = os.environ.get("LGUEST_OUT", os.path.join(ROOT, "out"))
KIT_PATH = "/usr/bin:/bin:/usr/sbin:/sbin:/kit/bin"

QEMU = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-nodefaults",
	"-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"]


class EngineError(Exception):
	pass


def find_lguest():
	if os.environ.get("LGUEST"):
		return os.environ["LGUEST"]
	program = os.path.join(ROOT, "build/src/lguest")
	if os.access(program, os.X_OK):
		return program
	raise EngineError("build/src/lguest: not built (meson setup build && ninja -C build, or set LGUEST)")


def find_kernel():
	"""$KERNEL, or Debian's 6.1 cloud kernel, which fetch-kernel.sh leaves in out/."""
	if os.environ.get("KERNEL"):
		return os.environ["KERNEL"]
	done = subprocess.run([os.path.join(ROOT, "scripts", "fetch-kernel.sh"), "cloud61"],
			      stdout=subprocess.PIPE, text=True)
	if done.returncode:
		raise EngineError("scripts/fetch-kernel.sh cloud61 failed (or set KERNEL to a kernel image)")
	return done.stdout.split()[-1]


class Run:
	"""A running engine. Use as a context manager: leaving it kills the child."""

	def __init__(self, argv, stderr=None, cleanup=None):
		self.argv = argv
		self.cleanup = cleanup
		self.errors = tempfile.TemporaryFile() if stderr is None else stderr
		self.started = time.monotonic()
		self.child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
					      stderr=self.errors, start_new_session=True)
		self.timed_out = False

	@property
	def pid(self):
		return self.child.pid

	def lines(self, timeout):
		"""Yields (seconds since start, line) until end of output or @timeout
		seconds without a single line."""
		pipe = self.child.stdout.fileno()
		pending = b""
		deadline = time.monotonic() + timeout
		while True:
			left = deadline - time.monotonic()
			if left <= 0 or not select.select([pipe], [], [], left)[0]:
				self.timed_out = True
				return
			data = os.read(pipe, 65536)
			now = time.monotonic()
			if not data:
				if pending:
					yield now - self.started, pending.decode("utf-8", "replace")
				return
			pending += data
			if b"\n" in data:
				deadline = now + timeout
			*whole, pending = pending.split(b"\n")
			for line in whole:
				yield now - self.started, line.decode("utf-8", "replace").rstrip("\r")

	def error_text(self):
		self.errors.seek(0)
		return self.errors.read().decode("utf-8", "replace")

	def wait(self, timeout=20):
		try:
			return self.child.wait(timeout)
		except subprocess.TimeoutExpired:
			self.timed_out = True
			return None

	def __enter__(self):
		return self

	def __exit__(self, *_):
		if self.child.poll() is None:
			os.killpg(self.child.pid, signal.SIGKILL)
			self.child.wait()
		self.child.stdout.close()
		self.child.stdin.close()
		if self.cleanup:
			self.cleanup()


def guest(engine, kernel, initrd, memory, command_line, options=(), lguest=None):
	"""Starts a guest. @engine: lguest, qemu or qemu-microvm."""
	if engine == "lguest":
		return Run([lguest or find_lguest(), *options, "--no-reboot", "--initrd=" + initrd,
			    str(memory), kernel, *command_line.split()])
	machine = {"qemu": ["-M", "pc"], "qemu-microvm": ["-M", "microvm,rtc=on"]}[engine]
	return Run([*QEMU, *machine, *options, "-m", str(memory), "-kernel", kernel,
		    "-initrd", initrd, "-append", command_line])


# $1 tree, $2 an empty directory, rest: command. The tmpfs dies with the namespace.
NATIVE = r"""
set -e
mount -t tmpfs -o size=2g kit "$2"
cp -a "$1"/. "$2"
mount --rbind /dev "$2/dev"
mount --rbind /sys "$2/sys"
mount -t proc proc "$2/proc"
mount -t tmpfs tmp "$2/tmp"
shift 2
exec env -i "$@" </dev/null
"""


def native(tree, command, environment=None, cpu=None):
	"""Runs @command (a list) in a chroot of @tree, as root of that namespace."""
	unshare = ["unshare"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
	unshare += ["--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
	if cpu is None:
		cpu = max(os.sched_getaffinity(0))
	pin = ["taskset", "-c", str(cpu)] if shutil.which("taskset") else []
	mount = tempfile.mkdtemp(prefix="lguest-native-")
	variables = ["%s=%s" % item for item in (environment or {}).items()]
	argv = [*pin, *unshare, "sh", "-c", NATIVE, "native", tree, mount, *variables,
		"PATH=" + KIT_PATH, shutil.which("chroot") or "/usr/sbin/chroot", mount, *command]
	return Run(argv, cleanup=lambda: os.rmdir(mount))
