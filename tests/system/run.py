#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The system tests: stock Debian kernels, booted by lguest on a pseudo terminal.

    tests/system/run.py --lguest build/src/lguest            all tests
    tests/system/run.py --only shell --only dmesg            those with these words in their names
    tests/system/run.py --soak 20                            as many boots in a row as well
    tests/system/run.py --list

The tests are in test_*.py beside this file. Kernels come from
scripts/fetch-kernel.sh and scripts/extract-vmlinux.sh, the initramfs from
scripts/mkinitramfs.sh, a root file system from scripts/mkdebian.sh; what is
missing below out/ is made. With --standin the guests run under QEMU's TCG
instead, as far as it has the same means: a way to tell a mistake of the tests
from one of lguest.

Ends with the line "N passed, N failed", and with status 1 if any failed.
"""
import argparse
import functools
import glob
import importlib
import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from guest import Failure  # noqa: E402
from harness import EXIT_POWER_OFF, KERNELS, MARKER, TESTS, TOP, Runner  # noqa: E402


def soak(runner, count):
    """Boots in a row, none of which hangs."""
    times = []
    for n in range(count):
        kernel = KERNELS[n % len(KERNELS)]
        with runner.boot(kernel=kernel, append=["lguest.run=true"]) as guest:
            try:
                guest.expect(MARKER)
                times.append(time.monotonic() - guest.started)
                guest.check_end(EXIT_POWER_OFF)
            except Failure as failure:
                raise Failure(f"boot {n + 1} of {count}, {kernel}: {failure}") from None
    times.sort()
    print(f"    {count} boots to user space: median {times[count // 2]:.2f} s, worst {times[-1]:.2f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--lguest", default=os.path.join(TOP, "build", "src", "lguest"), help="the program to test")
    parser.add_argument("--standin", action="store_true", help="run QEMU's TCG in its place")
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="tests with WORD in their names")
    parser.add_argument("--skip", action="append", default=[], metavar="WORD", help="not those with WORD")
    parser.add_argument("--soak", type=int, default=0, metavar="N", help="N boots in a row as well")
    parser.add_argument("--long", action="store_true", help="all rounds of tests that CI shortens")
    parser.add_argument("--timeout", type=float, default=60, help="seconds that a guest may be silent (%(default)s)")
    parser.add_argument("--list", action="store_true", help="name the tests and stop")
    args = parser.parse_args()
    args.lguest = os.path.abspath(args.lguest)
    for path in sorted(glob.glob(os.path.join(HERE, "test_*.py"))):
        importlib.import_module(os.path.basename(path)[:-3])

    chosen = [
        (name, function, text)
        for name, function, text in TESTS
        if (not args.only or any(word in name for word in args.only))
        and not any(word in name for word in args.skip)
        and not (args.standin and getattr(getattr(function, "func", function), "lguest_only", False))
    ]
    if args.soak:
        chosen.append((f"soak-{args.soak}", functools.partial(soak, count=args.soak), soak.__doc__))
    if args.list:
        for name, _, text in chosen:
            print(f"{name:22} {text}")
        return 0

    runner = Runner(args)
    failed = 0
    for name, function, _ in chosen:
        start = time.monotonic()
        try:
            function(runner)
            result = "ok"
        except (Failure, OSError, ValueError, AttributeError, subprocess.SubprocessError) as failure:
            failed += 1
            result = f"FAILED: {failure}"
        print(f"{name} ({time.monotonic() - start:.1f} s): {result}", flush=True)
    print(f"{len(chosen) - failed} passed, {failed} failed")
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
