# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest on a pseudo terminal: what a person at a keyboard sees and types.

The guest's standard input and output are the terminal, its standard error is a
pipe, so that error lines can be told from console output. The test keeps the
terminal open after the guest has gone, to see in which state it was left.
"""
import fcntl
import os
import re
import select
import signal
import subprocess
import termios
import time


class Failure(Exception):
    """Something is not as it must be; the text says what."""


class Guest:
    def __init__(self, argv, timeout=90.0, stdin="tty"):
        self.argv = argv
        self.timeout = timeout
        self.prompt = rb"^lguest# "
        self.screen = b""  # all that the guest has printed
        self.seen = 0  # up to here expect() has looked
        self.errors = b""
        self.master, self.slave = os.openpty()
        self.modes = termios.tcgetattr(self.slave)
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if stdin == "null" else self.slave,
            stdout=self.slave,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=self._take_terminal,
        )
        self.stderr = self.process.stderr.fileno()
        for fd in (self.master, self.stderr):
            fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK)

    @staticmethod
    def _take_terminal():
        fcntl.ioctl(1, termios.TIOCSCTTY, 0)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()
        os.close(self.master)
        os.close(self.slave)

    def _read(self, seconds):
        """Collects what arrives within that time; False when nothing did."""
        ready, _, _ = select.select([self.master, self.stderr], [], [], seconds)
        got = False
        for fd in ready:
            try:
                data = os.read(fd, 65536)
            except (BlockingIOError, OSError):
                continue
            got = got or bool(data)
            if fd == self.master:
                self.screen += data
            else:
                self.errors += data
        if ready and not got:
            time.sleep(0.01)  # standard error at its end is always ready
        return got

    def tail(self):
        lines = self.screen[-1500:].decode(errors="replace").replace("\r", "").split("\n")
        text = "\n".join("    | " + line for line in lines[-20:])
        if self.errors:
            text += "\n    stderr: " + self.errors[-500:].decode(errors="replace").rstrip()
        return text

    def expect(self, pattern, timeout=None, what=None):
        """Waits until the pattern (a regular expression, bytes) appears behind
        what was matched before; returns the match."""
        deadline = time.monotonic() + (timeout or self.timeout)
        while True:
            match = re.compile(pattern, re.MULTILINE).search(self.screen, self.seen)
            if match:
                self.seen = match.end()
                return match
            ended = self.process.poll() is not None
            left = deadline - time.monotonic()
            if left <= 0:
                raise Failure(f"no {what or pattern!r} in time\n{self.tail()}")
            if not self._read(min(left, 0.2)) and ended:
                raise Failure(
                    f"ended with status {self.process.returncode} before {what or pattern!r}\n{self.tail()}"
                )

    def send(self, text):
        data = text if isinstance(text, bytes) else text.encode()
        while data:
            _, ready, _ = select.select([], [self.master], [], self.timeout)
            if not ready:
                raise Failure(f"the guest does not take input\n{self.tail()}")
            data = data[os.write(self.master, data[:256]) :]
            self._read(0)

    def run(self, command, timeout=None):
        """A command at the shell's prompt; returns what it printed."""
        self.send(command + "\n")
        self.expect(re.escape(command.encode()[-20:]) + rb"[^\n]*\r*\n", timeout, f"echo of {command!r}")
        start = self.seen
        match = self.expect(self.prompt, timeout, f"prompt after {command!r}")
        return self.screen[start : match.start()].decode(errors="replace").replace("\r", "")

    def must(self, command, timeout=None):
        """A command that must succeed; returns what it printed."""
        text = self.run(command + "; echo =$?=", timeout)
        match = re.search(r"=(\d+)=\n\Z", text)
        if not match or match.group(1) != "0":
            raise Failure(f"{command!r} fails:\n" + "".join(f"    | {line}\n" for line in text.split("\n")[-20:]))
        return text[: match.start()]

    def power_off(self):
        """Ends the guest at its prompt, and checks how it ends."""
        self.send("poweroff -f\n")
        self.check_end(0)

    def type(self, keys, wanted, what):
        """Keys with editing among them; the line that the command must print."""
        self.send(keys + "\n")
        self.expect(rb"^" + re.escape(wanted.encode()) + rb"\r*$", 20, what)
        self.expect(rb"^lguest# ", 20, "prompt")

    def start(self, command):
        """A command that runs on; returns when it has the terminal, and not the shell any more."""
        self.send(f"sh -c 'echo g\"\"o; exec {command}'\n")
        self.expect(rb"^go\r*$", 20, f"the start of {command!r}")

    def wait(self, timeout=None):
        """Waits for the end; returns the exit status (negative: a signal)."""
        deadline = time.monotonic() + (timeout or self.timeout)
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                raise Failure(f"does not end\n{self.tail()}")
            self._read(0.05)
        while self._read(0.05):
            pass
        return self.process.returncode

    def signal(self, number):
        os.kill(self.process.pid, number)

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def check_end(self, status, errors=None, timeout=None):
        """The guest ends with that status, the terminal as it was before, and
        (when given) an error output that matches."""
        got = self.wait(timeout)
        if got < 0:
            got = f"signal {signal.Signals(-got).name}"
        if got != status:
            raise Failure(f"exit status {got}, not {status}\n{self.tail()}")
        if termios.tcgetattr(self.slave) != self.modes:
            raise Failure("the terminal is left in another state than it was found in")
        if errors is not None and not re.search(errors, self.errors.decode(errors="replace")):
            raise Failure(f"no {errors!r} on standard error\n{self.tail()}")
