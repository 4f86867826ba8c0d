# SPDX-License-Identifier: GPL-2.0-or-later
"""hvc0 and ttyS0 on one terminal: what is typed, what is shown, what happens at the ends of both."""
import fcntl
import os
import re
import signal
import struct
import subprocess
import termios
import time

from harness import (
    EXIT_HOST,
    EXIT_KILLED,
    EXIT_POWER_OFF,
    KERNELS,
    MARKER,
    PROMPT,
    for_each,
    initramfs,
    kernel_image,
    lguest_only,
    need,
    need_equal,
    test,
)

END_OF_INPUT = b"lguest: standard input has ended (the guest goes on without input)\n"


def resize(guest, rows, columns):
    fcntl.ioctl(guest.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def piped(runner, options=(), console="hvc0", **how):
    """A guest between pipes; its messages stay out of the way."""
    words = ["console=ttyS0", "console=" + console, "loglevel=3"]
    argv = runner.argv(kernel_image("cloud61"), 512, words, list(options), initramfs("cloud61"))
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)


def say(process, text):
    process.stdin.write(text)
    process.stdin.flush()


@for_each(KERNELS)
def console_hvc0(runner, value):
    """A shell on hvc0: line editing, signals, the kernel's messages, a reboot."""
    with runner.shell(kernel=value, append=["console=hvc0"]) as guest:
        need_equal(guest.must("tty"), "/dev/hvc0\n", "terminal")
        guest.type("echo onne\x7f\x7fe two", "one two", "line editing")
        guest.start("sleep 100")
        guest.send("\x03")
        guest.expect(PROMPT, 20, "prompt after ^C")
        need("from the kernel" in guest.run("echo '<1>from the kernel' >/dev/kmsg; sleep 0.1"), "kernel message")
        guest.send("reboot -f\n")
        runner.to_prompt(guest)
        need_equal(guest.must("tty"), "/dev/hvc0\n", "terminal after a reboot")
        text = guest.must("grep -c . /proc/interrupts; dmesg | grep -ci 'nobody cared' || true")
        need(text.endswith("\n0\n"), "the kernel complains about interrupts")
        guest.power_off()


@lguest_only
@test
def console_only_hvc0(runner):
    """Without console=ttyS0: what the kernel has to say comes when the driver is there."""
    with runner.shell(console="hvc0") as guest:
        need_equal(guest.must("cat /sys/class/tty/console/active"), "hvc0\n", "consoles")
        guest.power_off()


@lguest_only
@test
def console_window(runner):
    """The guest knows the size of the window, at the start and when it changes."""
    guest = runner.boot(append=["console=hvc0"])
    with guest:
        resize(guest, 33, 101)
        guest.expect(MARKER, what="marker line")
        guest.expect(PROMPT, what="shell prompt")
        need_equal(guest.must("stty size"), "33 101\n", "size at the start")
        # Not by the shell itself: it is in the background while a command runs.
        guest.send("""sh -c 'trap "echo changed to \\$(stty size)" WINCH; echo g""o; while :; do sleep 0.1; done'\n""")
        guest.expect(rb"^go\r*$", 20, "the start of the command")
        for rows, columns in (50, 132), (24, 80):
            resize(guest, rows, columns)
            guest.expect(b"^changed to %d %d\r*$" % (rows, columns), 20, "SIGWINCH")
        guest.send("\x03")
        guest.expect(PROMPT, what="shell prompt")
        guest.power_off()


@lguest_only
@test
def console_choice(runner):
    """What is typed goes where the last console= says, while both are open."""
    for console, other in ("ttyS0", "hvc0"), ("hvc0", "ttyS0"):
        words = ["console=" + console] if console == "hvc0" else []
        with runner.shell(append=words, options=["--rng"]) as guest:
            need_equal(guest.must("tty"), f"/dev/{console}\n", "terminal")
            if other == "hvc0":
                guest.must("modprobe virtio_console 2>/dev/null; sleep 0.5; test -e /dev/hvc0")
            guest.must(f"cat </dev/{other} >/tmp/stray & sleep 0.2")
            need_equal(guest.must("echo 1234"), "1234\n", "answer")
            need_equal(guest.must("cat /tmp/stray"), "", f"input of {other}")
            guest.must(f"echo over the other one >/dev/{other}; sleep 0.1")
            need(b"over the other one\r\n" in guest.screen, f"output of {other} is not shown")
            guest.power_off()


@lguest_only
@test
def console_escapes(runner):
    """--escape= switches the keys that end lguest."""
    with runner.shell(options=["--escape=none"], append=["console=hvc0"]) as guest:
        guest.send("stty raw -echo; echo g''o; dd bs=1 count=6 2>/dev/null | od -An -tx1; stty sane\n")
        guest.expect(rb"^go\r*$", 20, "the start of the command")
        guest.send(b"\x03\x03\x03\x01x\x01")
        guest.expect(rb"03 03 03 01 78 01", 20, "the keys, in the guest")
        guest.expect(PROMPT, 20)
        guest.power_off()
    for option, keys in ("ctrl-a", b"\x01x"), ("interrupts", b"\x03\x03\x03"), ("both", b"\x01x"):
        with runner.shell(options=["--escape=" + option], append=["console=hvc0"]) as guest:
            guest.send(keys)
            guest.check_end(EXIT_KILLED, "^lguest: ended by the user")


def has_sanitizer(runner):
    """AddressSanitizer takes SIGBUS for its own, and ends the program with status 1."""
    with open(runner.args.lguest, "rb") as program:
        return b"__asan_init" in program.read()


@lguest_only
@test
def console_signals(runner):
    """Ended from outside, the terminal is as it was (guest at its prompt on hvc0)."""
    for number, status in (signal.SIGTERM, EXIT_KILLED), (signal.SIGHUP, EXIT_KILLED):
        with runner.shell(append=["console=hvc0"]) as guest:
            guest.signal(number)
            guest.check_end(status, "^lguest: ended by signal")
    for number in signal.SIGKILL, signal.SIGABRT, signal.SIGBUS:
        with runner.shell(append=["console=hvc0"]) as guest:
            guest.signal(number)
            wanted = 1 if number == signal.SIGBUS and has_sanitizer(runner) else -number
            need_equal(guest.wait(), wanted, f"exit status after {number}")
            deadline = time.monotonic() + 5
            while termios.tcgetattr(guest.slave) != guest.modes and time.monotonic() < deadline:
                time.sleep(0.01)
            need_equal(termios.tcgetattr(guest.slave), guest.modes, f"terminal after {number}")


@lguest_only
@for_each(("hvc0", "ttyS0"))
def console_end_of_input(runner, value):
    """A script on standard input, also before anybody reads it; its end is not the guest's, and said once."""
    with piped(runner, console=value) as process:
        say(process, b"echo early $((6 * 7))\n")
        process.stdin.close()
        process.stdin = None
        shown = b""
        while b"early 42" not in shown:
            data = os.read(process.stdout.fileno(), 4096)
            need(data, f"ended after {shown!r}")
            shown += data
        time.sleep(1)
        need(process.poll() is None, "the guest has ended")
        process.terminate()
        errors = process.communicate(timeout=20)[1]
        need_equal(errors, END_OF_INPUT + b"lguest: ended by signal 15 (Terminated)\n", "standard error")
        need_equal(process.returncode, EXIT_KILLED, "exit status")


@lguest_only
@for_each(("hvc0", "ttyS0"))
def console_slow_reader(runner, value):
    """A slow pipe gets every byte, and the last ones after the guest has powered off."""
    count = 60000
    with piped(runner, console=value, bufsize=0) as process:
        fcntl.fcntl(process.stdout.fileno(), 1031, 4096)  # F_SETPIPE_SZ
        say(process, b"stty -onlcr -echo; seq %d; echo all 'done'; poweroff -f\n" % count)
        shown = []
        while data := os.read(process.stdout.fileno(), 1500):
            shown.append(data)
            if len(shown) < 200:
                time.sleep(0.01)
        need_equal(process.wait(30), EXIT_POWER_OFF, "exit status")
        text = b"".join(shown).replace(b"\r", b"")
        wanted = b"".join(b"%d\n" % i for i in range(1, count + 1)) + b"all done\n"
        need(wanted in text, f"output is missing ({len(text)} bytes of {len(wanted)} and some)")


@lguest_only
@for_each(("hvc0", "ttyS0"))
def console_closed_pipe(runner, value):
    """Nobody reads any more: the guest goes on to its end, one line says so, and the exit status, too."""
    with piped(runner, console=value) as process:
        while PROMPT[1:] not in process.stdout.peek():
            process.stdout.read1()
        process.stdout.close()
        process.stdout = None
        say(process, b"seq 100000\npoweroff -f\n")
        errors = process.stderr.read()
        need_equal(process.wait(60), EXIT_HOST, "exit status")
        need_equal(
            errors,
            b"lguest: standard output: Broken pipe (the guest goes on, its output is lost)\n",
            "standard error",
        )


@lguest_only
@test
def console_full_disk(runner):
    """Standard output on a full disk is an error like a closed pipe."""
    with open("/dev/full", "wb") as full:
        words = ["console=ttyS0", "loglevel=3", "lguest.run=poweroff"]
        argv = runner.argv(kernel_image("cloud61"), 512, words, [], initramfs("cloud61"))
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    need_equal(done.returncode, EXIT_HOST, "exit status")
    need(
        re.fullmatch(rb"lguest: standard output: No space left on device \([^\n]*\)\n", done.stderr),
        f"standard error: {done.stderr!r}",
    )
