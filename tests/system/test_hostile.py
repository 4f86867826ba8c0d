# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that sets a virtio device up wrongly, by hand: that device alone breaks, says so, and comes back with a reset."""
from harness import EXIT_POWER_OFF, lguest_only, need, need_equal, test

# Shell functions in the guest. Registers of the common configuration: virtio 1.2, 4.1.4.3.
LIBRARY = """
dev=$(basename $(grep -l 0x1044 /sys/bus/pci/devices/*/device | head -n 1 | xargs dirname))
bar=$(head -n 1 /sys/bus/pci/devices/$dev/resource | cut -d' ' -f1)
w() { devmem $(printf 0x%x $((bar + $1))) $2 $3; }
r() { devmem $(printf 0x%x $((bar + $1))) $2; }
drv() { echo $dev >/sys/bus/pci/drivers/virtio-pci/$1; }
rng() { dd if=/dev/hwrng bs=64 count=4 2>/dev/null | wc -c; }
ok() { w 20 8 0; w 20 8 1; w 20 8 3; w 8 32 1; w 12 32 1; w 20 8 11; r 20 8; }
queue() { w 22 16 0; w 32 32 $1; w 36 32 0; w 40 32 $2; w 44 32 0; w 48 32 $3; w 52 32 0; w 28 16 1; }
code=0x$(grep 'Kernel code' /proc/iomem | cut -d- -f1 | tr -d ' ')
"""

NEEDS_RESET = 0x40


@test
@lguest_only
def hostile_queue(runner):
    """Rings outside of RAM and rings of garbage: NEEDS_RESET, one warning each, and the driver brings the device back."""
    with runner.shell(options=["--rng"]) as guest:
        for line in LIBRARY.strip().split("\n"):
            guest.must(line)
        need_equal(guest.must("rng"), "256\n", "bytes of a healthy device")
        guest.must("drv unbind; echo 1 >/sys/bus/pci/devices/$dev/enable")

        need_equal(int(guest.must("ok"), 16), 11, "status with features settled")
        guest.must("queue 0xfffffff0 0x1000 0x8000")
        need_equal(int(guest.must("r 20 8"), 16), 11 | NEEDS_RESET, "status after a ring outside of RAM")
        # It does not start like that, and its doorbell is dead.
        guest.must("w 20 8 15; w 0x3000 16 0")
        need(int(guest.must("r 20 8"), 16) & NEEDS_RESET, "NEEDS_RESET went away without a reset")

        # The kernel's own code for a ring; the used ring is in memory that Linux leaves alone.
        need_equal(int(guest.must("ok"), 16), 11, "status after a reset")
        guest.must("queue $code $((code + 4096)) 0x8000")
        guest.must("w 20 8 15")
        need(int(guest.must("w 0x3000 16 0; r 20 8"), 16) & NEEDS_RESET, "garbage does not break the device")

        guest.must("drv bind")
        need_equal(guest.must("rng"), "256\n", "bytes after the driver's reset")
        guest.send("poweroff -f\n")
        guest.check_end(EXIT_POWER_OFF, r"rng0: queue 0: a ring is outside of RAM \(.*\)\n(?s:.*)rng0: queue 0: .* \(")
        need_equal(guest.errors.count(b"rng0:"), 2, "warnings")


@test
@lguest_only
def hostile_for_ever(runner):
    """A guest that breaks its device again and again gets six lines on standard error, no more."""
    with runner.shell(options=["--rng"]) as guest:
        for line in LIBRARY.strip().split("\n"):
            guest.must(line)
        guest.must("drv unbind; echo 1 >/sys/bus/pci/devices/$dev/enable")
        guest.must("for i in $(seq 50); do ok >/dev/null; queue 0xfffffff0 0x1000 0x8000; done", 60)
        guest.must("drv bind")
        need_equal(guest.must("rng"), "256\n", "bytes after the driver's reset")
        guest.send("poweroff -f\n")
        guest.check_end(EXIT_POWER_OFF, "rng0: further warnings are left out")
        need_equal(guest.errors.count(b"rng0:"), 6, "warnings")
