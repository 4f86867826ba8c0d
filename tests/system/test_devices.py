# SPDX-License-Identifier: GPL-2.0-or-later
"""Random numbers, and all devices together."""
from harness import make_disk, need, need_equal, test


@test
def rng(runner):
    """/dev/hwrng delivers, and what it delivers passes rngtest (FIPS 140-2)."""
    with runner.shell(options=["--rng"], tools=True) as guest:
        need("virtio_rng.0" in guest.must("cat /sys/class/misc/hw_random/rng_current"), "no virtio generator")
        text = guest.must("dd if=/dev/hwrng bs=2500 count=400 iflag=fullblock 2>/dev/null | tee /tmp/r | rngtest -c 399 2>&1 || true", 60)
        need_equal(guest.must("stat -c %s /tmp/r"), "1000000\n", "bytes from /dev/hwrng")
        # A true source fails one block in about 1250.
        failures = int(text.split("FIPS 140-2 failures: ")[1].split()[0])
        need(failures <= 4, f"rngtest: {text}")
        # Twice the same would be a generator with a fixed seed.
        need(guest.must("head -c 16 /dev/hwrng | od -x") != guest.must("head -c 16 /dev/hwrng | od -x"), "the same numbers twice")
        guest.power_off()
