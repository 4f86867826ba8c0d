# SPDX-License-Identifier: GPL-2.0-or-later
"""What bench/ and tests/userland share: guests made of Debian packages.

packages.py   Debian packages -> a directory tree (nothing is installed)
image.py      a tree -> a cpio archive that a kernel takes as its initramfs
engines.py    run a guest under lguest or QEMU, or the same tree natively,
              and read its console line by line with the time of each line

All three need python3's standard library and apt-get, dpkg-deb; a native run
needs unshare(1) and either root or unprivileged user namespaces. Everything
that is made lands in out/, never in the tree.
"""
