# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian with systemd, from a disk image: to the login prompt, a session, and off again."""
import re
import time

from guest import Failure
from harness import debian_image, for_each, need, need_equal

SHELL = rb"^(?:\x1b\[\?2004[hl]\r?)*root@debian:~# "


def log_in(guest, console):
    """At the login prompt, until the shell's."""
    # The other console's getty asks on the same terminal.
    guest.expect(rb"debian " + console.encode() + rb"\s+debian login: ", 240, f"login prompt on {console}")
    time.sleep(0.5)  # getty drops what was typed before it has asked
    guest.send("root\n")
    guest.expect(SHELL, 120, "shell prompt")
    guest.send("stty cols 1000; TERM=dumb; bind 'set enable-bracketed-paste off'\n")
    guest.expect(SHELL, 30)
    guest.prompt = SHELL


@for_each(["cloud61-hvc0", "cloud61-ttyS0", "cloud612-hvc0", "generic61-ttyS0"])
def debian(runner, value):
    """A Debian root file system on a disk: systemd, login, all units up, clean power-off."""
    kernel, console = value.split("-")
    image = debian_image()
    with runner.boot(kernel=kernel, console=console, append=["root=/dev/vda"],
                     options=[f"--block={image},cow", "--rng", "--net=user"]) as guest:
        log_in(guest, console)
        need_equal(guest.run("tty"), f"/dev/{console}\n", "terminal")
        state = guest.run("systemctl is-system-running --wait", 120).strip()
        if state != "running":
            raise Failure(f"systemd says {state}:\n{guest.run('systemctl --failed --no-pager')}")
        need("ext4" in guest.must("findmnt -n -o FSTYPE /"), "no ext4 root")
        need(re.search(r"inet 10\.0\.2\.\d+", guest.must("ip -4 addr show scope global")), "no address by DHCP")
        need("virtio_rng" in guest.must("cat /sys/class/misc/hw_random/rng_current"), "no virtio generator")
        guest.must("echo written >/root/file; sync")
        guest.send("poweroff\n")
        guest.check_end(0, timeout=120)
