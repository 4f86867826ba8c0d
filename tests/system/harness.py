# SPDX-License-Identifier: GPL-2.0-or-later
"""What the system tests are written with: guests, decorators, complaints.

A test is a function in one of the files test_*.py, which run.py collects:

    from harness import EXIT_POWER_OFF, need_equal, test

    @test
    def block_size(runner):
        '''The guest sees the disk's size.'''
        with runner.scratch() as directory:
            disk = make_disk(directory + "/disk", 1)
            with runner.shell(options=["--block=" + disk]) as guest:
                need_equal(guest.must("blockdev --getsz /dev/vda"), "2048\\n", "sectors")
                guest.power_off()

Its name says what it is about, the docstring is its description in the list. It
fails by raising Failure, which need() and the methods of Guest do.
"""
import contextlib
import functools
import os
import shutil
import subprocess
import tempfile

import standin
from guest import Failure, Guest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OUT = os.environ.get("LGUEST_OUT", os.path.join(TOP, "out"))
KERNELS = ("cloud61", "generic61", "cloud612")
KERNEL32 = "pae61"
MARKER = rb"lguest: userspace up\r*$"
PROMPT = rb"^lguest# "

EXIT_POWER_OFF, EXIT_USAGE, EXIT_HOST, EXIT_PANIC, EXIT_RESET, EXIT_TRIPLE, EXIT_KILLED = range(7)


def script(name, *args):
    """Runs one of scripts/; returns what it prints."""
    done = subprocess.run([os.path.join(TOP, "scripts", name), *args], stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().strip()


@functools.lru_cache(maxsize=None)
def kernel_image(name):
    """cloud61 is a bzImage, cloud61.elf its vmlinux."""
    base, _, elf = name.partition(".")
    image = script("fetch-kernel.sh", base)
    if not elf:
        return image
    vmlinux = os.path.join(os.path.dirname(image), "vmlinux")
    if not os.path.exists(vmlinux):
        script("extract-vmlinux.sh", image, vmlinux)
    return vmlinux


@functools.lru_cache(maxsize=None)
def initramfs(kernel, tools=False):
    """busybox and the kernel's virtio modules; with the programs of scripts/mktools.sh as well."""
    kernel = kernel.partition(".")[0]
    directory = os.path.dirname(kernel_image(kernel))
    path = os.path.join(OUT, f"test-initramfs-{kernel}{'-tools' if tools else ''}")
    arguments = ["-m", directory]
    if kernel == KERNEL32:
        arguments += ["-b", os.path.join(directory, "busybox")]
    if tools:
        arguments += ["-u", "-a", script("mktools.sh")]
    script("mkinitramfs.sh", *arguments, path)
    return path


@functools.lru_cache(maxsize=None)
def debian_image():
    """A Debian root file system (ext4): give it to a guest with cow or ro, it is everybody's."""
    return script("mkdebian.sh")


class Runner:
    """How a guest is started: lguest, or QEMU as its stand-in."""

    def __init__(self, args):
        self.args = args

    def argv(self, kernel, memory, append, options, initrd):
        if self.args.standin:
            return standin.argv(kernel, memory, append, options, initrd)
        return [self.args.lguest, *options, "--initrd=" + initrd, str(memory), kernel, *append]

    def boot(self, kernel="cloud61", memory=512, append=(), options=(), stdin="tty", initrd=None, tools=False,
             console="ttyS0"):
        """Starts a guest, does not wait for anything."""
        # Kernel messages in the middle of what the shell echoes would confuse the tests.
        words = ["console=" + console, "loglevel=3", *append]
        argv = self.argv(kernel_image(kernel), memory, words, options, initrd or initramfs(kernel, tools))
        return Guest(argv, self.args.timeout, stdin)

    def shell(self, **how):
        """A guest at its prompt. Arguments as for boot()."""
        guest = self.boot(**how)
        try:
            self.to_prompt(guest)
        except BaseException:
            guest.__exit__()
            raise
        return guest

    @staticmethod
    def to_prompt(guest):
        """From wherever it is in its boot, also after a reboot."""
        guest.expect(MARKER, what="marker line")
        guest.expect(PROMPT, what="shell prompt")
        # Without this the shell breaks what it echoes at 80 columns.
        guest.send("stty cols 1000\n")
        guest.expect(PROMPT)

    @contextlib.contextmanager
    def scratch(self):
        """A directory of the test's own, on a disk rather than in memory."""
        os.makedirs(OUT, exist_ok=True)
        directory = tempfile.mkdtemp(prefix="test-", dir=OUT)
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


TESTS = []


def test(function):
    """The function's docstring is the test's description."""
    TESTS.append((function.__name__.replace("_", "-"), function, function.__doc__))
    return function


def for_each(values):
    """One test per value, each with a name of its own."""

    def register(function):
        for value in values:
            bound = functools.partial(function, value=value)
            TESTS.append((f"{function.__name__.replace('_', '-')}-{value}", bound, function.__doc__))
        return function

    return register


def lguest_only(function):
    function.lguest_only = True
    return function


def need(condition, text):
    if not condition:
        raise Failure(text)


def need_equal(got, wanted, what):
    need(got == wanted, f"{what}: {got!r}, not {wanted!r}")


def make_disk(path, mib):
    """A sparse file of zeroes; returns its path."""
    with open(path, "wb") as f:
        f.truncate(int(mib * (1 << 20)))
    return path
