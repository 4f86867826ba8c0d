# SPDX-License-Identifier: GPL-2.0-or-later
"""Ways out with devices: signals, escapes and resets in the middle of requests; what is left behind."""
import glob
import os
import random
import re
import signal
import time

from harness import (
    EXIT_KILLED,
    EXIT_POWER_OFF,
    EXIT_RESET,
    lguest_only,
    make_disk,
    need,
    need_equal,
    test,
)
from test_block import RECORDS, WRITERS, build_records, check_records
from test_devices import web_server

LOAD = (
    "(while :; do dd if=/dev/hwrng of=/dev/null bs=64 count=100 2>/dev/null; done) &"
    " (while :; do wget -q -O /dev/null http://10.0.2.2:{port}/file; done) &"
)


@test
@lguest_only
def exit_under_load(runner):
    """SIGTERM, SIGINT and the escape while disk, network and generator are busy: a prompt end, no flushed write lost."""
    with runner.scratch() as directory, web_server(directory) as port:
        program = build_records(directory)
        make_disk(directory + "/file", 20)
        disk, first = make_disk(directory + "/disk", 8), 1
        for how in (signal.SIGTERM, signal.SIGINT, "escape", signal.SIGTERM, signal.SIGHUP):
            options = [f"--block={disk}", f"--block={program},ro", "--net=user", "--rng"]
            with runner.shell(options=options) as guest:
                guest.must("cat /dev/vdb >/tmp/records && chmod +x /tmp/records && udhcpc -i eth0 -n -q -t 5 -T 2", 30)
                guest.run(LOAD.format(port=port))
                guest.send(f"/tmp/records /dev/vda {WRITERS} {first}\n")
                guest.expect(rb"^ack ", what="first record")
                end = time.monotonic() + random.uniform(0.05, 1)
                while time.monotonic() < end:
                    guest._read(0.001)
                before = time.monotonic()
                if how == "escape":
                    guest.send(b"\x01x")
                else:
                    guest.signal(how)
                guest.check_end(EXIT_KILLED, r"^lguest: ended by [^\n]*\n$", 10)
                took = time.monotonic() - before
                need(took < 5, f"took {took:.1f} s to end")
                acknowledged = {}
                for writer, n in re.findall(rb"^ack (\d+) (\d+)\r*\n", guest.screen, re.MULTILINE):
                    acknowledged[int(writer)] = int(n)
            need(acknowledged, "nothing was acknowledged")
            with open(disk, "rb") as f:
                check_records(f.read(), first, acknowledged, str(how))
            first = (max(acknowledged.values()) // RECORDS + 2) * RECORDS + 1


@test
@lguest_only
def exit_reset_under_load(runner):
    """The guest resets itself in the middle of requests: --no-reboot ends, otherwise all devices come back."""
    with runner.scratch() as directory, web_server(directory) as port:
        make_disk(directory + "/file", 20)
        disk = make_disk(directory + "/disk", 64)
        options = [f"--block={disk}", "--net=user", "--rng"]
        busy = LOAD.format(port=port) + " (while :; do dd if=/dev/zero of=/dev/vda bs=64k oflag=direct 2>/dev/null; done) &"
        busy += " (while :; do dd if=/dev/vda of=/dev/null bs=1M iflag=direct 2>/dev/null; done) &"
        reset = "sleep 0.5; echo b >/proc/sysrq-trigger\n"
        with runner.shell(options=options) as guest:
            for _ in range(3):
                guest.must("udhcpc -i eth0 -n -q -t 5 -T 2", 30)
                guest.run(busy)
                guest.send(reset)
                runner.to_prompt(guest)
            need_equal(guest.must("dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c"), "64\n", "random numbers")
            guest.must("dd if=/dev/vda of=/dev/null bs=1M count=8")
            guest.send("poweroff -f\n")
            guest.check_end(EXIT_POWER_OFF, "^$")
        with runner.shell(options=["--no-reboot", *options]) as guest:
            guest.must("udhcpc -i eth0 -n -q -t 5 -T 2", 30)
            guest.run(busy)
            guest.send(reset)
            guest.check_end(EXIT_RESET, r"^lguest: [^\n]*--no-reboot[^\n]*\n$")


@test
@lguest_only
def exit_leaves_nothing(runner):
    """No process and no temporary file is left, however lguest ends."""
    with runner.scratch() as directory:
        os.mkdir(directory + "/tmp")
        disk = make_disk(directory + "/disk", 8)
        os.environ["TMPDIR"] = directory + "/tmp"
        try:
            for number in (None, signal.SIGTERM, signal.SIGKILL):
                with runner.shell(options=[f"--block={disk},cow", "--net=user", "--rng"], append=["console=hvc0"]) as guest:
                    guest.must("dd if=/dev/urandom of=/dev/vda bs=1M count=4 conv=fsync")
                    group = os.getpgid(guest.process.pid)
                    if number is None:
                        guest.power_off()
                    else:
                        guest.signal(number)
                        guest.wait()
                need_equal(os.listdir(directory + "/tmp"), [], f"temporary files after {number}")
                deadline = time.monotonic() + 5
                while members(group) and time.monotonic() < deadline:
                    time.sleep(0.01)
                need_equal(members(group), [], f"processes after {number}")
        finally:
            del os.environ["TMPDIR"]


def members(group):
    """The processes of a process group."""
    found = []
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, encoding="ascii", errors="replace") as f:
                fields = f.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            found.append(path)
    return found
