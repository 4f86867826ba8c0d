#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots the test guest of the lguest platform, once for each scenario.

    run.py LGUEST GUEST.elf [SCENARIO...]

What a good guest prints are lines "ok - ..." and "not ok - ..."; a bad one must be ended, with
the reason given here on standard error and exit status 5, and must not harm lguest.
"""
import os
import re
import subprocess
import sys
import tempfile

TIMEOUT = 60
RANDOM_GUESTS = 60
POWER_OFF, HOST, PANIC, RESET, DIED, KILLED = 0, 2, 3, 4, 5, 6

GOOD = ['init', 'old-layout', 'segments', 'traps', 'gates', 'emulation', 'fpu', 'vectors', 'code-and-data', 'paging', 'ring', 'timer',
        'interrupt-flag', 'noirq', 'user', 'calls', 'calls-ring', 'ring-text', 'ring-halt', 'time', 'absent-gate',
        'level3', 'frame-flags', 'old-frames', 'host-descriptors']
DEVICES = ['list', 'block', 'rng', 'console', 'net', 'abuse', 'reboot', 'old-era', 'early-notify', 'no-interrupt',
           'event-index', 'indirect', 'mergeable', 'ring-notify', 'failed', 'lowest-first', 'device-area', 'data-on-list']
# Lines of the console device's, or of NOTIFY's: each of them once, in this order.
TEXTS = {
    'calls': ['NOTIFY: this line'],
    'calls-ring': ['NOTIFY: this line'],
    'ring-text': ['first', 'second', 'third'],
    'ring-halt': ['behind HALT in the ring', 'the direct call', 'slept until the timer'],
    'console': ['through the console device'],
    'device-area': ['console works'],
}
# What lguest has to say about devices that were abused.
WARNINGS = {
    'abuse': ['block0: queue 0: '] * 3,
    'indirect': ['block0: queue 0: '],
    'device-area': ['block0: queue 0: ', 'rng0: queue 0: ', 'net0: queue 1: ', 'console: queue 1: '],
}
BAD = {
    'before-init': 'hypercall 5 before initialisation',
    'init-twice': 'initialised twice',
    'init-in-ring': 'initialised twice',
    'bad-number': 'bad hypercall 3',
    'huge-number': 'bad hypercall 4294967295',
    'data-outside': 'bad lguest_data address 0x10ffff8',
    'data-wraps': 'bad lguest_data address 0xfffffffc',
    'kernel-in-host': "kernel at 0xffc00000, in the host's part",
    'syscall-vector': 'bad system call vector',
    'gate-type': 'bad type 12 of IDT entry 6',
    'gate-index': 'IDT entry 256',
    'gdt-index': 'too many GDT entries: 32',
    'tls-address': 'bad address of TLS descriptors 0xfffffff0',
    'stack-segment': 'bad stack segment 0x68',
    'stack-pages': 'bad number of stack pages 3',
    'stack-empty': 'stack segment 0xa1 is no data segment of level 1',
    'stack-code': 'stack segment 0x61 is no data segment of level 1',
    'code-level': 'segment 0x61 is no code segment of level 1',
    'pgdir-outside': 'bad page directory address 0x40000000',
    'pgdir-unaligned': 'bad page directory address',
    'pte-frame': 'bad page table entry 0x40000003 for 0x200000',
    'pte-large': 'bad page table entry 0x200083',
    'pte-reserved': "page table entry for 0xffc00000, in the host's part",
    'pgd-frame': 'bad page directory entry 0x40000067',
    'pgd-flags': 'bad page directory entry 0x[0-9a-f]+e7',
    'page-outside': 'bad page table entry: it leads to 0x80000000',
    'table-outside': 'bad page directory entry 0x7ffff067 for 0x2000000',
    'code-outside': 'bad page table entry 0x800000[02]3 for 0x3f0010',
    'code-table-outside': 'bad page directory entry 0x7ffff067 for 0x2000000',
    'no-gate': 'unhandled trap 6 at 0x1[0-9a-f]+ ',
    'trap-first': 'unhandled trap 6',
    'jump-to-nothing': r'unhandled trap 14 at 0x9000000 \(0x9000000\)',
    'no-stack': 'cannot push a trap frame: the stack at 0x8fffffc is not mapped',
    'stack-outside': 'cannot push a trap frame: the stack at 0x3f0ffc lies outside',
    'notify-limit': 'bad notification address 0x1100000',
    'notify-nothing': 'notification of 0x1000fff, where there is no device',
    'shutdown-address': 'bad shutdown reason address 0x40000000',
    'halt-instruction': 'unhandled trap 13',
    'ring-for-ever': 'bad number of stack pages 9',
    'ring-number': 'bad hypercall 12',
    'ring-notify-limit': 'bad notification address 0xfffffff0',
    'ring-on-itself': 'bad hypercall 11',
    'ring-two-reasons': 'bad number of stack pages 4',
    'data-unaligned': 'bad lguest_data address 0x[0-9a-f]+2',
    'data-at-end': 'bad system call vector',
    'stack-local': 'bad stack segment 0x6d',
    'stack-index': 'bad stack segment 0x101',
    'stack-unset': 'cannot push a trap frame: the stack at 0xfffffffc is not mapped',
    'stack-read-only': 'cannot push a trap frame: the stack at 0x3f0ffc is not mapped',
    'gate-nowhere': 'cannot push a trap frame: the stack at .* is not mapped',
    'gate-gone': 'unhandled trap 6',
    'gate-level4': 'IDT entry 2147483654 does not exist',
    'no-code': 'segment 0x61 is no code segment of level 1',
    'pgdir-wraps': 'bad page directory address 0xfffff000',
    'pgdir-empty': 'cannot push a trap frame: the stack at .* is not mapped',
    'pgd-outside': 'bad page directory address 0x40000000',
    'pgdir-self': 'bad page table entry.* 0x40000',
    'notify-inside': 'notification of 0x1000001, where there is no device',
    'notify-ring-inside': 'notification of 0x1001004, where there is no device',
    'notify-end': 'notification of 0x10ff000, where there is no device',
    'tls-end': 'bad address of TLS descriptors 0x10fffec',
}
ENDS = {
    'panic': (PANIC, r'CRASH: it is enough of this\n'),
    'long-text': (PANIC, r'CRASH: x{127}\n'),
    'escape-text': (PANIC, r'CRASH: .\[31mred.\n'),
    'ring-shutdown': (PANIC, r'CRASH: by the ring\n'),
    'shutdown-other': (PANIC, r'CRASH: neither\n'),
}


def hypercalls():
    """The names of all of them, by the header that lguest is built with."""
    with open(os.path.join(os.path.dirname(__file__), '../../src/platform/lguest/abi.h')) as f:
        enum = re.search(r'enum lg_hypercall {(.*?)}', f.read(), re.S).group(1)
    return set(re.findall(r'LG_(\w+) =', enum))


class Runner:
    def __init__(self, lguest, guest):
        self.lguest, self.guest, self.failures, self.count = lguest, guest, 0, 0

    def run(self, scenario, options=(), stdin=b'', timeout=TIMEOUT, words=()):
        cmd = [self.lguest, '--platform=lguest', *options, '16', self.guest, scenario, *words]
        with subprocess.Popen(cmd, stdin=subprocess.PIPE if stdin else subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            try:
                out, err = p.communicate(stdin or None, timeout=timeout)
            except subprocess.TimeoutExpired:
                p.terminate()
                out, err = p.communicate()
                err += b'(timeout)\n'
            return p.returncode, out.decode(errors='replace'), err.decode(errors='replace')

    def check(self, scenario, ok, what, detail=''):
        self.count += 1
        if not ok:
            self.failures += 1
        print(f"{'ok' if ok else 'not ok'} - {scenario}: {what}")
        if not ok and detail:
            print('\n'.join('# ' + line for line in detail.splitlines()))

    def good(self, scenario, options=(), stdin=b''):
        status, out, err = self.run(scenario, options, stdin)
        detail = f'status {status}\n{out}{err}'
        checks = len(re.findall(r'^ok - ', out, re.M))
        wrong = re.findall(r'^not ok - .*', out, re.M)
        self.check(scenario, not wrong and checks > 0 and 'SUMMARY PASS' in out and status == POWER_OFF,
                   f'{checks} checks', detail)
        if scenario in TEXTS:
            lines = [line[5:] for line in out.splitlines() if line.startswith('ok - ')]
            found = [line for line in lines if line in TEXTS[scenario]]
            self.check(scenario, found == TEXTS[scenario], 'texts come once and in order', out)
        if scenario.startswith('calls'):
            missing = hypercalls() - set(re.findall(r'^ok - ([A-Z_]+): ', out, re.M)) - {'SHUTDOWN'}
            self.check(scenario, not missing, 'every hypercall', 'not seen: ' + ' '.join(sorted(missing)))
        warned = re.findall(r'^lguest: (\w+: queue \d+: )', err, re.M)
        self.check(scenario, sorted(warned) == sorted(WARNINGS.get(scenario, [])),
                   f'{len(warned)} warnings', err)


def random_guests(runner, scratch):
    """How each of them has ended; prints what to do to see a bad end again."""
    ends = []
    image = os.path.join(scratch, 'random')
    for seed in range(1, RANDOM_GUESTS + 1):
        with open(image, 'wb') as f:
            f.truncate(64 << 10)
        status, _, err = runner.run('random', ['--no-reboot', f'--block={image}', '--rng', '--net=user'],
                                    words=[str(seed)])
        ends.append(status)
        if status not in (POWER_OFF, PANIC, RESET, DIED):
            print(f'# --block=FILE --rng --net=user 16 GUEST random {seed}: status {status}\n{err}')
    return ends


def main():
    runner = Runner(sys.argv[1], sys.argv[2])
    only = sys.argv[3:]

    def wanted(scenario):
        return not only or scenario in only

    for scenario in filter(wanted, GOOD):
        runner.good(scenario)
    for scenario, reason in BAD.items():
        if wanted(scenario):
            status, out, err = runner.run(scenario)
            runner.check(scenario, status == DIED and re.search(f'^lguest: .*({reason})', err, re.M) and
                         err.count('\n') == 1 and 'SUMMARY' not in out,
                         reason, f'status {status}\n{out}{err}')
    for scenario, (want, reason) in ENDS.items():
        if wanted(scenario):
            status, out, err = runner.run(scenario)
            runner.check(scenario, status == want and re.search('^lguest: ' + reason, err, re.M) and
                         '\x1b' not in err and 'not ok' not in out, reason.strip(), f'status {status}\n{out}{err}')
    if wanted('halt'):
        status, out, err = runner.run('halt', timeout=2)
        runner.check('halt', status == KILLED and 'not ok' not in out and 'ok - halting' in out,
                     'a blocked interrupt does not end HALT', f'status {status}\n{out}{err}')
    for scenario in filter(wanted, ['restart', 'ring-restart']):
        status, out, err = runner.run(scenario, ['--no-reboot'])
        runner.check(scenario, status == RESET, 'with --no-reboot', f'status {status}\n{out}{err}')
    if wanted('many'):
        # 31 interrupts: the console has two of them.
        runner.good('init', ['--rng'] * 29)
        status, out, err = runner.run('init', ['--rng'] * 30)
        runner.check('many', status == HOST and err == 'lguest: console: cannot be plugged in: there are too many devices\n',
                     'one device too many', f'status {status}\n{out}{err}')
    with tempfile.TemporaryDirectory() as scratch:
        if wanted('random'):
            ends = random_guests(runner, scratch)
            runner.check('random', set(ends) <= {POWER_OFF, PANIC, RESET, DIED},
                         f'{len(ends)} guests, {ends.count(POWER_OFF)} of them lived to the end', str(ends))
        for scenario in filter(wanted, DEVICES):
            image = os.path.join(scratch, scenario)
            with open(image, 'wb') as f:
                f.truncate(64 << 10)
            options = [f'--block={image}', '--rng', '--net=user,mac=52:12:34:56:78:56']
            # The host chooses an address, and keeps it.
            if scenario == 'reboot':
                options[-1] = '--net=user'
            runner.good(scenario, options, b'hi\n' if scenario in ('console', 'old-era') else b'')
            runner.check(scenario, os.path.getsize(image) == 64 << 10, 'the image has kept its size')
    print(f'{runner.count - runner.failures} passed, {runner.failures} failed')
    return 1 if runner.failures or not runner.count else 0


if __name__ == '__main__':
    sys.exit(main())
