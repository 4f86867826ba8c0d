# SPDX-License-Identifier: GPL-2.0-or-later
"""Booting, typing, the ends that a guest can have, and what it thinks of its machine."""
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import termios
import time

from guest import Failure
from harness import (
    EXIT_HOST,
    EXIT_KILLED,
    EXIT_PANIC,
    EXIT_POWER_OFF,
    EXIT_RESET,
    EXIT_TRIPLE,
    KERNEL32,
    KERNELS,
    MARKER,
    PROMPT,
    for_each,
    initramfs,
    kernel_image,
    lguest_only,
    need,
    need_equal,
    script,
    test,
)

# Boot, keyboard, power


@for_each([k + e for k in (*KERNELS, KERNEL32) for e in ("", ".elf")])
def shell(runner, value):
    """Boots to a shell; typing, line editing, ^C; powers off."""
    with runner.shell(kernel=value) as guest:
        need_equal(guest.run("echo $((6*7))"), "42\n", "arithmetic")
        guest.type("echo abx\x7fc", "abc", "backspace")
        guest.type("echo 1\x1b[D2", "21", "cursor left")
        guest.type("garbage\x15echo kill-\x08-line", "kill-line", "^U and ^H")
        guest.type("\x1b[A", "kill-line", "the last command again, by cursor up")
        for command in ("sleep 1000", "cat"):
            guest.start(command)
            guest.send("\x03")
            guest.expect(PROMPT, 10, f"prompt after ^C on {command}")
            need_equal(guest.run("echo $?"), "130\n", f"status of an interrupted {command}")
        guest.send("cat\n")
        time.sleep(0.3)
        guest.send("a line\n")
        guest.expect(rb"a line\r*\na line\r*\n", 10, "what cat repeats")
        guest.send("\x04")
        guest.expect(PROMPT, 10, "prompt after ^D")
        guest.start("sleep 1000")
        guest.send("\x1a")
        guest.expect(rb"Stopped", 10, "^Z")
        guest.expect(PROMPT, 10)
        guest.run("kill %1")
        guest.send("poweroff -f\n")
        guest.check_end(EXIT_POWER_OFF)
        need_equal(guest.errors, b"", "standard error")


@test
def reboot(runner):
    """reboot -f starts the guest again, with clean memory, twice."""
    with runner.shell() as guest:
        for _ in range(2):
            guest.run("echo left-behind >/tmp/file")
            guest.send("reboot -f\n")
            guest.expect(MARKER, what="marker line after the reboot")
            guest.expect(PROMPT)
            need_equal(guest.run("ls /tmp"), "", "/tmp after the reboot")
        guest.send("poweroff -f\n")
        guest.check_end(EXIT_POWER_OFF)


@test
def no_reboot(runner):
    """--no-reboot turns a reset into an exit status."""
    with runner.shell(options=["--no-reboot"]) as guest:
        guest.send("reboot -f\n")
        guest.check_end(0 if runner.args.standin else EXIT_RESET)


@for_each(["acpi", "kbd", "triple", "efi,pci", "bios"])
@lguest_only
def reset_by(runner, value):
    """Each way in which Linux resets a PC works."""
    status = EXIT_TRIPLE if value == "triple" else EXIT_RESET
    with runner.shell(options=["--no-reboot"], append=["reboot=" + value]) as guest:
        guest.send("reboot -f\n")
        guest.check_end(status)


@test
def panic_reset(runner):
    """panic=-1 with --no-reboot serves CI: a crash becomes an exit status."""
    with runner.shell(options=["--no-reboot"], append=["panic=-1"]) as guest:
        guest.send("echo c >/proc/sysrq-trigger\n")
        guest.expect(rb"Kernel panic", 30)
        guest.check_end(0 if runner.args.standin else EXIT_RESET)


@test
def typing_ahead(runner):
    """2000 characters pasted at once all arrive."""
    with runner.shell() as guest:
        guest.start("cat >/tmp/paste")
        lines = [f"line {n:03} " + "x" * 40 for n in range(40)]
        for line in lines:
            guest.send(line + "\n")
        guest.send("\x04")
        guest.expect(rb"line 039[^\n]*\n", 60)
        guest.expect(PROMPT, 20)
        text = guest.run("md5sum </tmp/paste")
        digest = hashlib.md5(("\n".join(lines) + "\n").encode()).hexdigest()
        need(digest in text, f"what arrived differs: {text!r}")
        guest.send("poweroff -f\n")
        guest.check_end(EXIT_POWER_OFF)


@test
def without_terminal(runner):
    """Standard input /dev/null: a scripted session runs and powers off."""
    with runner.boot(append=['lguest.run="echo one; echo two"'], stdin="null") as guest:
        guest.expect(MARKER)
        guest.expect(rb"^one\r*\ntwo\r*$", 20)
        guest.expect(rb"^lguest: session ended with status 0\r*$", 20)
        guest.check_end(EXIT_POWER_OFF)


@test
def command_line(runner):
    """The guest's command line is passed on byte for byte."""
    words = ["-x", "--initrd=none", "a  b", "", "q=\"1 2\"", "\xe9t\xe9", "--", "-h"]
    with runner.shell(append=words) as guest:
        text = guest.run("cat /proc/cmdline")
        need(" ".join(words) in text, f"/proc/cmdline is {text!r}")
        guest.send("poweroff -f\n")
        guest.check_end(EXIT_POWER_OFF)


@for_each(["128", "200", "512M", "1G", "3072", "4G", "8G"])
def memory(runner, value):
    """That much memory is there, and usable."""
    mib = int(value[:-1]) * 1024 if value.endswith("G") else int(value.rstrip("M"))
    with runner.shell(memory=value) as guest:
        total = int(re.search(r"MemTotal: +(\d+) kB", guest.run("grep MemTotal /proc/meminfo")).group(1)) >> 10
        need(mib * 0.9 - 80 < total < mib, f"MemTotal is {total} MiB of {mib}")
        # A quarter of it, so that pages above 4 GiB are used as well, yet the host need not have them all.
        size = min(mib // 4, 300)
        text = guest.run(
            f"mount -t tmpfs -o size=90% t /tmp; yes lguest | head -c {size}M | tee /tmp/a | md5sum; md5sum </tmp/a", 120
        )
        sums = re.findall(r"[0-9a-f]{32}", text)
        need(len(sums) == 2 and sums[0] == sums[1], f"memory does not keep its contents: {text!r}")
        guest.send("poweroff -f\n")
        guest.check_end(EXIT_POWER_OFF)


# What the guest thinks of its machine


@for_each(KERNELS)
@lguest_only
def dmesg(runner, value):
    """No mitigation that costs, no calibration of timers, no complaint."""
    with runner.shell(kernel=value) as guest:
        log = guest.run("dmesg")
        rules = guest.run("grep . /sys/devices/system/cpu/vulnerabilities/*")
        clock = guest.run("cat /sys/devices/system/clocksource/clocksource0/current_clocksource").strip()
        guest.send("poweroff -f\n")
        guest.check_end(EXIT_POWER_OFF)
    wrong = []
    for text in (
        r"page tables isolation: enabled",
        r"Kernel/User page tables isolation: enabled",
        r"Retpolines",
        r"return thunk",
        r"untrained return",
        r"Clear CPU buffers",
        r"tsc: Fast TSC calibration",
        r"tsc: Unable to calibrate",
        r"TSC calibration",
        r"calibrating APIC timer",
        r"APIC timer calibration",
        r"Marking TSC unstable",
        r"clocksource: .*unstable",
        r"BUG:",
        r"WARNING:",
        r"general protection",
        r"invalid opcode",
        r"ACPI (BIOS )?(Error|Warning)",
        r"ACPI: .*\[Firmware Bug\]",
        r"soft lockup",
        r"irq .*: nobody cared",
        r"\[Firmware Bug\]",
    ):
        wrong += [line for line in log.split("\n") if re.search(text, line)]
    wrong += [
        line for line in rules.split("\n") if re.search(r"PTI|Retpolines|[Rr]eturn thunk|Clear CPU|Vulnerable", line)
    ]
    need(not wrong, "the guest says:\n" + "\n".join("    | " + line for line in wrong))
    need("Hypervisor detected: KVM" in log, "the guest has not found the KVM signature")
    need(clock in ("kvm-clock", "tsc"), f"clock source {clock!r}")
    need(re.search(r"(lpj=|preset value|skipped)", log), "the delay loop was calibrated")


@test
@lguest_only
def idle(runner):
    """A guest that waits costs next to no CPU time."""
    with runner.shell() as guest:
        time.sleep(1)
        before = guest.cpu_seconds()
        time.sleep(5)
        used = guest.cpu_seconds() - before
        need(used < 0.25, f"{used:.2f} s of CPU time in 5 s of idling")
        guest.send("poweroff -f\n")
        guest.check_end(EXIT_POWER_OFF)


@test
def clock(runner):
    """The date is the host's, and a second lasts a second."""
    with runner.shell() as guest:
        shown = int(guest.run("date +%s"))
        need(abs(shown - time.time()) < 4, f"the guest's clock is {shown - time.time():.1f} s ahead")
        start = time.monotonic()
        guest.run("sleep 3")
        took = time.monotonic() - start
        need(2.8 < took < 5.0, f"sleep 3 took {took:.2f} s")
        guest.send("poweroff -f\n")
        guest.check_end(EXIT_POWER_OFF)


# Ends that are not the guest's wish


@for_each(["SIGTERM", "SIGINT", "SIGHUP"])
@lguest_only
def killed_by(runner, value):
    """A signal ends lguest at once; the terminal is as it was."""
    with runner.shell() as guest:
        guest.signal(getattr(signal, value))
        guest.check_end(EXIT_KILLED, timeout=10)


@test
@lguest_only
def killed_while_busy(runner):
    """The same while the guest computes and prints."""
    with runner.shell() as guest:
        guest.send("yes\n")
        guest.expect(rb"y\r*\ny\r*\ny", 20)
        guest.signal(signal.SIGTERM)
        guest.check_end(EXIT_KILLED, timeout=10)


@test
@lguest_only
def killed_while_booting(runner):
    """The same in the first moments."""
    for delay in (0.0, 0.05, 0.2, 0.5):
        with runner.boot() as guest:
            time.sleep(delay)
            guest.signal(signal.SIGTERM)
            got = guest.wait(10)
            # Before the handlers stand, the signal has its ordinary effect.
            need(got in (EXIT_KILLED, -signal.SIGTERM), f"exit status {got} after {delay} s\n{guest.tail()}")


@for_each(["three-ctrl-c", "ctrl-a-x"])
@lguest_only
def escape_by(runner, value):
    """The user's keys end a guest that does not listen."""
    with runner.shell() as guest:
        guest.send("\x03\x03\x03" if value == "three-ctrl-c" else "\x01x")
        guest.check_end(EXIT_KILLED, timeout=10)


@test
@lguest_only
def escape_sent_on(runner):
    """^A twice is one ^A for the guest, where it goes to the line's beginning."""
    with runner.shell() as guest:
        guest.type("cho 12\x01\x01e", "12", "^A")
        guest.send("poweroff -f\n")
        guest.check_end(EXIT_POWER_OFF)


@test
@lguest_only
def killed_hard(runner):
    """Even after SIGKILL the terminal gets its modes back."""
    with runner.shell() as guest:
        guest.signal(signal.SIGKILL)
        guest.wait(10)
        deadline = time.monotonic() + 5
        while termios.tcgetattr(guest.slave) != guest.modes:
            need(time.monotonic() < deadline, "the terminal stays raw")
            time.sleep(0.05)


@test
@lguest_only
def panic_reported(runner):
    """With the pvpanic driver loaded a crash is an exit status and a line of its own."""
    modules = os.path.join(os.path.dirname(kernel_image("cloud61")), "modules")
    with tempfile.TemporaryDirectory() as directory:
        for path, _, files in os.walk(modules):
            for name in files:
                if name.startswith("pvpanic"):
                    shutil.copy(os.path.join(path, name), directory)
        image = os.path.join(directory, "initramfs")
        script("mkinitramfs.sh", "-a", directory, image)
        with runner.shell(initrd=image, append=["panic=-1"]) as guest:
            text = guest.run("insmod /pvpanic.ko; insmod /pvpanic-mmio.ko; echo insmod $?")
            need("insmod 0" in text, f"the driver does not load: {text}")
            guest.send("echo c >/proc/sysrq-trigger\n")
            guest.check_end(EXIT_PANIC, errors=r"(?m)^lguest: .*panic")


def bad_inputs(directory):
    """(name, options, memory, kernel, status, pattern)"""
    image = kernel_image("cloud61")
    with open(image, "rb") as f:
        whole = f.read()

    def file(name, data):
        path = os.path.join(directory, name)
        with open(path, "wb") as f:
            f.write(data)
        return path

    big = os.path.join(directory, "big")
    with open(big, "wb") as f:
        f.truncate(300 << 20)
    start = (whole[0x1F1] + 1) * 512 + int.from_bytes(whole[0x248:0x24C], "little")
    corrupt = bytearray(whole)
    # LZ4 has no checksum: this much is a run of literals that is longer than the file.
    corrupt[start + 5000 : start + 5000 + (256 << 10)] = b"\xff" * (256 << 10)
    # The same in the fifth block, which is looked at when the guest runs already.
    later, at = bytearray(whole), start + 4
    for _ in range(4):
        at += 4 + int.from_bytes(whole[at : at + 4], "little")
    later[at + 5000 : at + 5000 + (256 << 10)] = b"\xff" * (256 << 10)
    initrd = "--initrd=" + initramfs("cloud61")
    return [
        ("missing kernel", [], "512", directory + "/none", r"none: .*[Nn]o such file"),
        ("directory as kernel", [], "512", directory, r"directory"),
        ("empty kernel", [], "512", file("empty", b""), r"empty: .*(empty|short|truncated|not a kernel)"),
        ("text as kernel", [], "512", file("text", b"hello\n" * 5000), r"text: .*not a"),
        ("truncated header", [], "512", file("header", whole[:0x220]), r"header: "),
        ("truncated payload", [], "512", file("cut", whole[: len(whole) // 2]), r"cut: "),
        ("corrupt payload", [], "512", file("corrupt", bytes(corrupt)), r"corrupt: "),
        ("corrupt payload, later", [], "512", file("later", bytes(later)), r"later: corrupt payload \(lz4\)"),
        ("missing initrd", ["--initrd=" + directory + "/none"], "512", image, r"none: .*[Nn]o such file"),
        ("directory as initrd", ["--initrd=" + directory], "512", image, r"directory"),
        ("initrd larger than memory", ["--initrd=" + big], "256", image, r"(initrd|big).*(memory|RAM)"),
        ("memory too small for the kernel", [initrd], "16", image, r"memory|RAM"),
        ("command line too long", [initrd], "512", image, r"command line.*at most", ["x" * 5000]),
    ]


@test
@lguest_only
def bad_input(runner):
    """Each mistake: one line on standard error that names it, status 2."""
    wrong = []
    with tempfile.TemporaryDirectory() as directory:
        for name, options, mib, image, pattern, *rest in bad_inputs(directory):
            argv = [runner.args.lguest, *options, mib, image, *(rest[0] if rest else ["console=ttyS0"])]
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  timeout=60, check=False)
            errors = done.stderr.decode(errors="replace")
            if done.returncode != EXIT_HOST:
                wrong.append(f"{name}: status {done.returncode}, not {EXIT_HOST}: {errors!r}")
            elif not re.fullmatch(r"lguest: [^\n]+\n", errors) or not re.search(pattern, errors):
                wrong.append(f"{name}: says {errors!r}")
            elif done.stdout:
                wrong.append(f"{name}: prints {done.stdout[:80]!r}")
    need(not wrong, "\n".join(wrong))


@test
@lguest_only
def verbose(runner):
    """--verbose says on standard error what the engine did."""
    with runner.shell(options=["--verbose"]) as guest:
        guest.send("poweroff -f\n")
        guest.check_end(EXIT_POWER_OFF, errors=r"(?is)block.*(tlb|interrupt)")


@test
@lguest_only
def perf_map(runner):
    """--perf-map writes lines of address, size, name."""
    with runner.shell(options=["--perf-map"]) as guest:
        path = f"/tmp/perf-{guest.process.pid}.map"
        guest.send("poweroff -f\n")
        guest.check_end(EXIT_POWER_OFF)
    with open(path, encoding="ascii") as f:
        lines = f.readlines()
    os.unlink(path)
    need(len(lines) > 1000, f"only {len(lines)} lines")
    bad = [line for line in lines if not re.fullmatch(r"[0-9a-f]+ [0-9a-f]+ \S+\n", line)]
    need(not bad, f"lines like {bad[:1]}")


@test
@lguest_only
def own_decompressor(runner):
    """--no-host-decompress: the image unpacks itself inside the guest."""
    with runner.shell(options=["--no-host-decompress"]) as guest:
        guest.send("poweroff -f\n")
        guest.check_end(EXIT_POWER_OFF)
