#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""test_machine.py FAKE-GUEST: the machine and the host side, from outside.

Runs fake_guest.c's scenarios on files, pipes and pseudo terminals: exit
statuses, escapes, terminal modes, no byte lost in either direction, no CPU
time while idle."""

import os
import pty
import random
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
import unittest

FAKE = None
END_OF_INPUT = b"lguest: standard input has ended (the guest goes on without input)\n"
POWER_OFF, HOST, PANIC, RESET, TRIPLE, KILLED = 0, 2, 3, 4, 5, 6


def run(*args, stdin=None, timeout=30):
    """Without @stdin: /dev/null."""
    source = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    return subprocess.run([FAKE, *args], capture_output=True, timeout=timeout, **source)


class Terminal:
    """A scenario on a pseudo terminal of its own, as its session's leader."""

    def __init__(self, *args):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.execv(FAKE, [FAKE, *args])
            finally:
                os._exit(127)
        self.out = bytearray()

    def modes(self):
        return termios.tcgetattr(self.fd)

    def read_until(self, what, timeout=10):
        end = time.time() + timeout
        searched = 0
        while self.out.find(what, max(0, searched - len(what))) < 0:
            searched = len(self.out)
            ready, _, _ = select.select([self.fd], [], [], max(0, end - time.time()))
            if not ready:
                raise AssertionError(f"no {what!r} in {self.out!r}")
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            if not data:
                raise AssertionError(f"end before {what!r}: {self.out!r}")
            self.out += data

    def write(self, data):
        os.write(self.fd, data)

    def wait(self, timeout=10):
        end = time.time() + timeout
        while time.time() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            # Keep the terminal from filling up; what came last may be read after the end.
            while select.select([self.fd], [], [], 0 if pid else 0.01)[0]:
                try:
                    data = os.read(self.fd, 65536)
                except OSError:
                    data = b""
                self.out += data
                if not data:
                    time.sleep(0.01)
                    break
            if pid:
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise AssertionError(f"still running: {self.out!r}")

    def close(self):
        os.close(self.fd)


class Outcomes(unittest.TestCase):
    def check(self, scenario, status, message, *options):
        p = run(scenario, *options)
        self.assertEqual(p.returncode, status, p.stderr)
        self.assertRegex(p.stderr.decode(), message)
        return p

    def test_power_off(self):
        p = run("echo", stdin=b"q")
        self.assertEqual(p.returncode, POWER_OFF)
        self.assertIn(p.stderr, (b"", END_OF_INPUT))  # whatever comes first
        self.assertEqual(p.stdout, b"ready\r\nq\r\nbye\r\n")

    def test_panic(self):
        p = self.check("panic", PANIC, r"^lguest: .*panicked\n$")
        self.assertEqual(p.stdout, b"about to panic\r\n")

    def test_triple_fault(self):
        self.check("triple", TRIPLE, r"^lguest: .*triple fault.* RIP 0xffffffff81234567\n(.*\n)* +rflags")

    def test_load_error(self):
        self.check("unloadable", HOST, r"^lguest: unloadable: no kernel in it\n$")

    def test_late_load_error(self):
        """One line when that ended the guest, none when something else did, or had said why."""
        line = r"^lguest: vmlinuz: file shrank\n$"
        for when in "first", "meanwhile":
            for scenario in "spin", "panic", "reset", "triple":
                self.check(scenario, HOST, line, f"--load-fails={when}")
        self.check("spin", HOST, r"^lguest: no engine\n$", "--load-fails=create")
        self.check("panic", PANIC, r"^lguest: .*panicked\n$", "--load-fails=last")
        self.check("triple", TRIPLE, r"^lguest: .*triple fault(?!(.*\n)*.*shrank)", "--load-fails=last")
        self.check("reset", RESET, r"^lguest: .*reset.*\n$", "--no-reboot", "--load-fails=last")
        p = self.check("reset", POWER_OFF, "^$", "--load-fails=last")
        self.assertEqual(p.stdout, b"boot 1\r\nboot 2\r\nboot 3\r\nboot 4\r\n")

    def test_reset_starts_a_clean_machine(self):
        p = self.check("reset", POWER_OFF, "^$")
        self.assertEqual(p.stdout, b"boot 1\r\nboot 2\r\nboot 3\r\nboot 4\r\n")

    def test_no_reboot(self):
        p = self.check("reset", RESET, r"^lguest: .*reset.*\n$", "--no-reboot")
        self.assertEqual(p.stdout, b"boot 1\r\n")

    def test_signals(self):
        for sig in signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT:
            p = subprocess.Popen([FAKE, "spin"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
            self.assertEqual(p.stdout.readline(), b"spinning\r\n")
            p.send_signal(sig)
            _, err = p.communicate(timeout=10)
            self.assertEqual(p.returncode, KILLED)
            self.assertRegex(err.decode(), r"^lguest: ended by signal %d" % sig)


class Timers(unittest.TestCase):
    def test_on_time(self):
        p = run("timer")
        m = re.search(rb"halted (\d+) us, running (\d+) us", p.stdout)
        self.assertTrue(m, p.stdout)
        # Generous: the machine that runs the tests may be busy.
        self.assertLess(int(m[1]), 5000)
        self.assertLess(int(m[2]), 5000)

    def cpu_seconds(self, scenario, first):
        p = subprocess.Popen([FAKE, scenario], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL)
        self.assertEqual(p.stdout.readline(), first)
        time.sleep(0.2)
        before = self.ticks(p.pid)
        time.sleep(1)
        after = self.ticks(p.pid)
        p.terminate()
        p.communicate()
        return (after - before) / os.sysconf("SC_CLK_TCK")

    def ticks(self, pid):
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def test_idle_costs_nothing(self):
        self.assertLess(self.cpu_seconds("echo", b"ready\r\n"), 0.05)

    def test_halted_with_interrupts_off(self):
        self.assertLess(self.cpu_seconds("deaf", b"deaf\r\n"), 0.05)


def flood():
    return b"".join(b"%07u %055u\n" % (i, i * 2654435761 & 0xffffffff) for i in range(131072))


class Output(unittest.TestCase):
    def test_pipe(self):
        p = run("flood")
        self.assertEqual(p.returncode, POWER_OFF)
        self.assertTrue(p.stdout == flood())

    def test_file(self):
        with open("/tmp/lguest-test-%d" % os.getpid(), "w+b") as f:
            os.unlink(f.name)
            p = subprocess.run([FAKE, "flood"], stdin=subprocess.DEVNULL, stdout=f, timeout=30)
            f.seek(0)
            self.assertTrue(f.read() == flood())

    def test_slow_reader(self):
        p = subprocess.Popen([FAKE, "flood"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0)
        got = b""
        time.sleep(0.5)
        while True:
            data = os.read(p.stdout.fileno(), random.choice((1, 1000, 100000, 1000000)))
            if not data:
                break
            got += data
            if len(got) < 1000000:
                time.sleep(0.005)
        self.assertEqual(p.wait(10), POWER_OFF)
        p.stdout.close()
        self.assertTrue(got == flood())

    def test_stuck_reader_does_not_stop_signals(self):
        p = subprocess.Popen([FAKE, "flood"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        p.terminate()
        self.assertEqual(p.wait(10), KILLED)
        p.stdout.close()

    def test_reader_gone(self):
        p = subprocess.Popen([FAKE, "flood"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        os.read(p.stdout.fileno(), 1000)
        p.stdout.close()
        self.addCleanup(p.stderr.close)
        # To its end, but whoever asks for the status learns that output was lost.
        self.assertEqual(p.wait(20), HOST)
        self.assertRegex(p.stderr.read().decode(), r"^lguest: standard output: Broken pipe.*\n$")

    def test_socket(self):
        import socket
        a, b = socket.socketpair()
        p = subprocess.Popen([FAKE, "flood"], stdin=subprocess.DEVNULL, stdout=b)
        b.close()
        got = b""
        while data := a.recv(65536):
            got += data
        self.assertEqual(p.wait(10), POWER_OFF)
        self.assertTrue(got == flood())
        a.close()

    def test_closed(self):
        p = subprocess.run(f"{FAKE} flood >&- 2>&- <&-", shell=True, timeout=30)
        self.assertEqual(p.returncode, POWER_OFF)

    def test_terminal(self):
        t = Terminal("flood")
        t.read_until(flood()[-64:], 30)  # all of the last line, however the reads cut it
        self.assertEqual(t.wait(), POWER_OFF)
        self.assertTrue(t.out == flood())
        t.close()


class Input(unittest.TestCase):
    def expect(self, data):
        total = 0
        for c in data:
            total = total * 31 + c & 2**64 - 1
        return b"ready\r\nreceived %d sum %d\r\n" % (len(data), total)

    def test_pipe(self):
        data = random.randbytes(100000)
        p = run("count", stdin=data)
        self.assertEqual(p.stdout, self.expect(data))

    def test_file(self):
        data = random.randbytes(100000)
        with open("/tmp/lguest-test-%d" % os.getpid(), "w+b") as f:
            os.unlink(f.name)
            f.write(data)
            f.seek(0)
            p = subprocess.run([FAKE, "count"], stdin=f, capture_output=True, timeout=30)
        self.assertEqual(p.stdout, self.expect(data))

    def check_end_of_input(self, stdin, warning):
        p = subprocess.Popen([FAKE, "spin"], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(p.stdout.readline(), b"spinning\r\n")
        if stdin == subprocess.PIPE:
            p.stdin.close()
            p.stdin = None
        time.sleep(0.5)
        self.assertIsNone(p.poll())
        p.kill()
        self.assertEqual(p.communicate()[1], warning)

    def test_end_of_input_is_not_the_end(self):
        self.check_end_of_input(subprocess.PIPE, END_OF_INPUT)

    def test_no_warning_for_the_null_device(self):
        self.check_end_of_input(subprocess.DEVNULL, b"")

    def test_control_characters_in_a_pipe_are_data(self):
        data = b"\x03\x03\x03\x01x\x01\x01" + b"." * 10
        self.assertEqual(run("count", stdin=data).stdout, self.expect(data))


class OnATerminal(unittest.TestCase):
    def start(self, scenario="echo", first=b"ready\r\n", options=()):
        t = Terminal(scenario, *options)
        self.addCleanup(t.close)
        t.read_until(first)
        return t

    def check_restored(self, t):
        self.assertTrue(t.modes()[3] & termios.ICANON)
        self.assertTrue(t.modes()[3] & termios.ECHO)
        self.assertTrue(t.modes()[1] & termios.OPOST)

    def test_raw_and_restored(self):
        t = self.start()
        self.assertFalse(t.modes()[3] & (termios.ICANON | termios.ECHO | termios.ISIG))
        t.write(b"hi\x03\x1a\x1c\x04\r\x7fq")
        t.read_until(b"bye")
        self.assertIn(b"hi^C^Z^\\^D^M\x7fq", t.out)
        self.assertEqual(t.wait(), POWER_OFF)
        self.check_restored(t)

    def test_three_interrupts(self):
        t = self.start()
        t.write(b"\x03\x03")
        t.read_until(b"^C^C")
        t.write(b"\x03")
        self.assertEqual(t.wait(), KILLED)
        self.check_restored(t)

    def test_slow_interrupts_are_the_guests(self):
        t = self.start()
        for i in range(4):
            t.write(b"\x03")
            time.sleep(0.55)
        t.write(b"q")
        t.read_until(b"^C^C^C^Cq")
        self.assertEqual(t.wait(), POWER_OFF)

    def test_escape(self):
        t = self.start()
        t.write(b"a\x01\x01b\x01c")
        t.read_until(b"a^Ab^Ac")
        t.write(b"\x01x")
        self.assertEqual(t.wait(), KILLED)
        self.check_restored(t)
        self.assertIn(b"lguest: ended by the user", t.out)

    def check_no_escape(self, escape, typed, shown):
        t = self.start(options=["--escape=" + escape])
        t.write(typed)
        t.read_until(shown)
        t.write(b"q")
        self.assertEqual(t.wait(), POWER_OFF)
        self.check_restored(t)

    def check_escape(self, escape, typed):
        t = self.start(options=["--escape=" + escape])
        t.write(typed)
        self.assertEqual(t.wait(), KILLED)
        self.check_restored(t)

    def test_escapes_can_be_switched_off(self):
        self.check_no_escape("none", b"\x03\x03\x03\x03\x01x\x01\x01", b"^C^C^C^C^Ax^A^A")
        self.check_no_escape("ctrl-a", b"\x03\x03\x03\x03", b"^C^C^C^C")
        self.check_no_escape("interrupts", b"\x01x\x01\x01", b"^Ax^A^A")
        self.check_escape("ctrl-a", b"\x01x")
        self.check_escape("interrupts", b"\x03\x03\x03")
        self.check_escape("both", b"\x01x")

    def test_signal(self):
        t = self.start()
        os.kill(t.pid, signal.SIGTERM)
        self.assertEqual(t.wait(), KILLED)
        self.check_restored(t)

    def wait_restored(self, t):
        end = time.time() + 5
        while not t.modes()[3] & termios.ICANON and time.time() < end:
            time.sleep(0.01)
        self.check_restored(t)

    def test_crash(self):
        t = self.start("crash", b"crashing\r\n")
        self.assertLess(t.wait(), 0)
        self.wait_restored(t)

    def test_sigkill(self):
        t = self.start()
        os.kill(t.pid, signal.SIGKILL)
        self.assertEqual(t.wait(), -signal.SIGKILL)
        self.wait_restored(t)

    def test_triple_fault_report_is_readable(self):
        t = Terminal("triple")
        self.addCleanup(t.close)
        self.assertEqual(t.wait(), TRIPLE)
        self.assertRegex(t.out, rb"RIP 0xffffffff81234567\r\n")
        self.check_restored(t)

    def test_stop_and_continue(self):
        t = self.start()
        os.kill(t.pid, signal.SIGSTOP)
        os.waitpid(t.pid, os.WUNTRACED)
        cooked = t.modes()
        cooked[3] |= termios.ICANON | termios.ECHO | termios.ISIG
        termios.tcsetattr(t.fd, termios.TCSANOW, cooked)  # what a shell does
        os.kill(t.pid, signal.SIGCONT)
        end = time.time() + 5
        while t.modes()[3] & termios.ICANON and time.time() < end:
            time.sleep(0.01)
        t.write(b"\x03q")
        t.read_until(b"^Cq")
        self.assertEqual(t.wait(), POWER_OFF)
        self.check_restored(t)

    def test_background(self):
        """Started with & from a shell with job control; then brought to the foreground."""
        pid, fd = pty.fork()
        if pid == 0:
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
            child = os.fork()
            if child == 0:
                signal.signal(signal.SIGTTOU, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
                os.setpgid(0, 0)
                os.execv(FAKE, [FAKE, "echo"])
            os.write(1, b"waiting\r\n")
            signal.sigwait([signal.SIGUSR1])
            modes = termios.tcgetattr(0)
            os.write(1, b"cooked\r\n" if modes[3] & termios.ICANON else b"raw\r\n")
            os.tcsetpgrp(0, child)
            os.kill(child, signal.SIGCONT)
            os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        t = Terminal.__new__(Terminal)
        t.pid, t.fd, t.out = pid, fd, bytearray()
        self.addCleanup(t.close)
        t.read_until(b"waiting")
        t.read_until(b"ready")
        os.kill(pid, signal.SIGUSR1)
        t.read_until(b"cooked")
        end = time.time() + 5
        while t.modes()[3] & termios.ICANON and time.time() < end:
            time.sleep(0.01)
        t.write(b"\x03q")
        t.read_until(b"^Cq")
        self.assertEqual(t.wait(), POWER_OFF)
        self.check_restored(t)

    def test_hangup(self):
        t = Terminal("echo")
        t.read_until(b"ready\r\n")
        os.close(t.fd)
        end = time.time() + 10
        while time.time() < end:
            pid, status = os.waitpid(t.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(0.01)
        self.assertEqual(os.waitstatus_to_exitcode(status), KILLED)


if __name__ == "__main__":
    FAKE = os.path.abspath(sys.argv.pop(1))
    unittest.main()
