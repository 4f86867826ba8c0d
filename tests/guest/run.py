#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs one guest test program under lguest, or under QEMU TCG with --qemu.

    run.py LGUEST PROGRAM.elf
    run.py --status=5 LGUEST PROGRAM.elf   no SUMMARY: that exit status is wanted
    run.py --option=--soft-disable=all LGUEST PROGRAM.elf
    run.py --exits=5000 LGUEST PROGRAM.elf  translated code was left no more often than that, for each reason
                                            but system instructions and polls
    run.py --qemu PROGRAM.elf

Prints the TAP lines of the guest. Passes when the guest's SUMMARY line says
so and, under lguest, the guest has powered itself off.
"""
import re
import subprocess
import sys

TIMEOUT = 120


def few_exits(text, most):
    """Does `lguest --verbose` tell of @most exits of the soft engine, or fewer, for each reason?"""
    line = re.search('exits by reason:((?: [a-z]+ [0-9]+)+)', text)
    counts = dict(re.findall('([a-z]+) ([0-9]+)', line[1])) if line else {}
    if 'direct' not in counts:
        print('not ok - no exits by reason')
        return False
    many = [f'{reason} {n}' for reason, n in counts.items() if int(n) > most and reason not in ('system', 'poll')]
    print(f"{'not ok' if many else 'ok'} - exits from translated code: {', '.join(many) or 'few'}")
    return not many


def main():
    args = sys.argv[1:]
    status = exits = None
    if args[0].startswith('--status='):
        status = int(args.pop(0).split('=')[1])
    options = []
    if args[0].startswith('--exits='):
        exits = int(args.pop(0).split('=')[1])
        options.append('--verbose')
    while args[0].startswith('--option='):
        options.append(args.pop(0).split('=', 1)[1])
    qemu = args[0] == '--qemu'
    program = args[1]
    if qemu:
        cmd = ['qemu-system-x86_64', '-accel', 'tcg', '-cpu', 'max', '-m', '512', '-kernel', program,
               '-serial', 'stdio', '-display', 'none', '-monitor', 'none', '-no-reboot', '-nodefaults',
               '-device', 'isa-debug-exit,iobase=0xf4']
    else:
        cmd = [args[0], *options, '--no-reboot', '64', program]
    try:
        p = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired as e:
        print((e.stdout or b'').decode(errors='replace'))
        print(f'not ok - no end within {TIMEOUT} s')
        return 1
    text = p.stdout.decode(errors='replace')
    print(text, end='')
    if status is not None:
        print(f"{'ok' if p.returncode == status else 'not ok'} - exit status {p.returncode}, wanted {status}")
        return 0 if p.returncode == status else 1
    good = 'SUMMARY PASS' in text and '\nnot ok' not in text
    if not qemu and p.returncode != 0:
        print(f'not ok - exit status {p.returncode}')
        good = False
    if exits is not None:
        good &= few_exits(text, exits)
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
