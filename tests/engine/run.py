#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs lguest --engine=lguest on a kernel of its own (fake_kernel.c).

    run.py LGUEST KERNEL.elf OLD-HOST OLDEST TRUE-LGUEST

LGUEST is built with the fake; any 32-bit ELF file will do as KERNEL, for it is loaded but does not run.
The same again by OLD-HOST, which takes away the system calls that kernels of 3.12 and 2.6.31 do not have: those
above 313 and OLDEST. TRUE-LGUEST, for 64-bit hosts, says that it cannot do it.
"""
import os
import re
import signal
import subprocess
import sys
import tempfile

POWER_OFF, HOST, PANIC, RESET, DIED, KILLED = 0, 2, 3, 4, 5, 6


class Runner:
    def __init__(self, lguest, kernel, under, name, scratch):
        self.lguest, self.kernel, self.under, self.name = lguest, kernel, under, name
        self.image = os.path.join(scratch, 'image')
        self.passed = self.failed = 0

    def run(self, scenario, fake='', options=(), stdin=b'hi\n', kill_at=None):
        with open(self.image, 'wb') as f:
            f.truncate(64 << 10)
        cmd = [*self.under, self.lguest, '--platform=lguest', '--engine=lguest', f'--block={self.image}', '--rng',
               *options, '16', self.kernel, scenario]
        env = dict(os.environ, LGUEST_FAKE=fake)
        with subprocess.Popen(cmd, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            if kill_at:
                line = p.stdout.readline()
                if line == kill_at:
                    p.send_signal(signal.SIGTERM)
            try:
                out, err = p.communicate(stdin, timeout=60)
            except subprocess.TimeoutExpired:
                p.kill()
                out, err = p.communicate()
                err += b'(timeout)\n'
        return p.returncode, out.decode(errors='replace'), err.decode(errors='replace')

    def check(self, what, ok, got):
        print(f"{'ok' if ok else 'not ok'} - {self.name}: {what}")
        if ok:
            self.passed += 1
        else:
            self.failed += 1
            print('\n'.join('# ' + line for line in f'status {got[0]}\n{got[1]}{got[2]}'.splitlines()))

    def good(self, scenario, checks, fake='', options=()):
        got = self.run(scenario, fake, options)
        oks = len(re.findall('^ok - ', got[1], re.M))
        self.check(f'{scenario} {fake}: {oks} of {checks} checks', got[0] == POWER_OFF and oks == checks and
                   'not ok' not in got[1] and got[2].endswith('lguest: CRASH: Power down\n'), got)
        return got

    def all(self):
        for fake in ('', 'no-eventfd', 'signals'):
            got = self.good('devices', 9, fake)
            how = 'a read' if fake == 'no-eventfd' else 'an eventfd'
            self.check(f'notified by {how}', f'block: by {how}\n' in got[1], got)
            self.good('restart', 12, fake)
        with open(self.image, 'rb') as f:
            self.check('the restarts have reached the disk', f.read(1) == b'\x03', (0, '', ''))
        self.good('devices', 9, options=['--block=' + self.kernel + ',cow'])
        with open(self.image, 'rb') as f:
            f.seek(1024)
            self.check('the write has reached the disk', f.read(20) == b'written by the guest', (0, '', ''))
        # Interrupts 1 and 2 are those of block and rng, 3 and 4 the console's.
        got = self.run('devices', 'irqs=4')
        self.check('a host with too few interrupts', "the host's kernel has no interrupt 4 for guests" in got[2] and
                   got[2].count('no interrupt') == 1 and 'ok - rng: bytes' in got[1], got)
        got = self.run('panic')
        self.check('panic', got[0] == PANIC and 'lguest: CRASH: no more of this \n' in got[2], got)
        got = self.run('trap')
        self.check('death', got[0] == DIED and got[2].endswith('lguest: unhandled trap 6 at 0x100000 (0)\n'), got)
        got = self.run('no-reason')
        self.check('death without a reason', got[0] == DIED and 'does not say why' in got[2], got)
        got = self.run('bad-notify')
        self.check('a notification of nothing', got[0] == DIED and 'where there is no device' in got[2] and
                   'not reached' not in got[2], got)
        got = self.run('restart', options=['--no-reboot'])
        self.check('--no-reboot', got[0] == RESET, got)
        got = self.run('sleep', kill_at=b'ok - asleep\n')
        self.check('SIGTERM ends a guest that sleeps', got[0] == KILLED and 'ended by signal 15' in got[2], got)
        got = self.run('trap', 'absent')
        self.check('a host without lguest', got[0] == HOST and
                   re.match(r'lguest: /dev/lguest: No such file or directory \(the host', got[2]), got)


def main():
    lguest, kernel, old_host, oldest, true_lguest = sys.argv[1:]
    passed = failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name, under in (('this host', []), ('Linux 3.12', [old_host, '313']), ('Linux 2.6.31', [old_host, oldest])):
            runner = Runner(lguest, kernel, under, name, scratch)
            runner.all()
            passed += runner.passed
            failed += runner.failed
        runner = Runner(true_lguest, kernel, [], 'without a fake', scratch)
        got = runner.run('devices')
        runner.check('64-bit hosts are told', got[0] == HOST and
                     'lguest: --engine=lguest: only for 32-bit hosts (build with -m32; see README.md)\n' in got[2], got)
        passed += runner.passed
        failed += runner.failed
    print(f'{passed} passed, {failed} failed')
    return 1 if failed or not passed else 0


if __name__ == '__main__':
    sys.exit(main())
