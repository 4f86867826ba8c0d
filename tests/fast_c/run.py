#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Fast C calls nothing but fast C, and what a list allows it.

    run.py NM LIST LIBRARY...

Fast C runs with the guest's vector registers live (src/engine/soft/cpu.h), and a compiler that turns a loop or
a copy into a call of the C library would show up in nothing but a guest's wrong sums, now and then.
"""
import os
import re
import subprocess
import sys

# Of the linker; what _FORTIFY_SOURCE makes of a name is that name.
LINKER = {'_GLOBAL_OFFSET_TABLE_'}


def plain(symbol):
    match = re.fullmatch(r'__(\w+)_chk', symbol)
    return match[1] if match else symbol


def read_list(path):
    allowed = {}
    with open(path) as f:
        for line in f:
            source, *symbols = line.split('#')[0].split() or ['']
            allowed.setdefault(source, set()).update(symbols)
    return allowed


def read_libraries(nm, libraries):
    """Symbols that are defined, and those that each source file needs."""
    defined, needed = set(), {}
    for library in libraries:
        out = subprocess.run([nm, '-A', '-P', library], check=True, capture_output=True, text=True).stdout
        for line in out.splitlines():
            # "library[object.c.o]: symbol type ...", or "object.c.o: ..." for thin archives
            where, symbol, kind, *_ = re.fullmatch(r'(.*): (\S+) (\S)(.*)', line).groups()
            # The object of ../x/y.c is ..._y.c.o, and sources may have _ in their names.
            source = os.path.basename(re.sub(r'.*\[|\]|\.o(?=\]?$)', '', where))
            needed.setdefault(source, set())
            if kind == 'U':
                needed[source].add(plain(symbol))
            elif kind.isupper():
                defined.add(symbol)
    return defined, needed


def main():
    nm, path, *libraries = sys.argv[1:]
    allowed = read_list(path)
    defined, needed = read_libraries(nm, libraries)
    failures = 0
    for source in sorted(needed):
        names = [name for name in allowed if source == name or re.search(f'_{re.escape(name)}$', source)]
        # sys_control.c is not control.c: the longest one
        may = allowed[max(names, key=len)] if names else set()
        wrong = needed[source] - defined - may - LINKER
        failures += bool(wrong)
        print(f"{'not ok' if wrong else 'ok'} - {source}" + (': calls ' + ' '.join(sorted(wrong)) if wrong else ''))
    if not defined or not needed:
        sys.exit('no symbols: ' + ' '.join(libraries))
    sys.exit(1 if failures else 0)


if __name__ == '__main__':
    main()
