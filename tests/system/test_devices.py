# SPDX-License-Identifier: GPL-2.0-or-later
"""Random numbers, all devices together, reboots with them, and options that are wrong."""
from collections import Counter
import contextlib
import functools
import hashlib
import http.server
import os
import re
import subprocess
import threading
import time

from harness import (
    EXIT_HOST,
    EXIT_USAGE,
    initramfs,
    kernel_image,
    lguest_only,
    make_disk,
    need,
    need_equal,
    test,
)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def web_server(directory):
    """Serves a directory on the host's loopback; gives the port. Guests reach it as 10.0.2.2."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=directory))
    server.handle_error = lambda *_: None  # guests go away in the middle
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def random_file(path, size):
    """Fills it; returns its SHA-256."""
    data = os.urandom(size)
    with open(path, "wb") as f:
        f.write(data)
    return hashlib.sha256(data).hexdigest()


DHCP = "udhcpc -i eth0 -n -q -t 5 -T 2"


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


def footprint(pid):
    """What a process holds: (descriptors, threads, private memory in KiB)."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        anonymous = int(re.search(r"RssAnon:\s+(\d+)", f.read()).group(1))
    # Without the inode numbers of sockets and pipes
    descriptors = sorted(re.sub(r":\[\d+\]$", "", os.readlink(f"/proc/{pid}/fd/{fd}")) for fd in os.listdir(f"/proc/{pid}/fd"))
    return descriptors, len(os.listdir(f"/proc/{pid}/task")), anonymous


@test
def reboot_devices(runner):
    """Ten reboots with all devices: all of them work each time, and nothing is left behind on the host."""
    rounds = 10
    with runner.scratch() as directory, web_server(directory) as port:
        disk, other = make_disk(directory + "/disk", 8), make_disk(directory + "/other", 4)
        digest = random_file(directory + "/file", 300000)
        held = []
        with runner.boot(options=["--block=" + disk, f"--block={other},cow", "--net=user", "--rng"]) as guest:
            for number in range(rounds + 1):
                runner.to_prompt(guest)
                if number:
                    need_equal(guest.must("dd if=/dev/vda bs=512 count=1 2>/dev/null | head -n 1"), f"round {number - 1}\n", "the disk")
                need(guest.must(f"echo round {number} | dd of=/dev/vda conv=sync,fsync 2>/dev/null") == "", "dd")
                guest.must("dd if=/dev/vda of=/dev/vdb bs=1M count=4 conv=fsync 2>/dev/null && cmp -n 4194304 /dev/vda /dev/vdb")
                guest.must(DHCP, 30)
                need(digest in guest.must(f"wget -q -O - http://10.0.2.2:{port}/file | sha256sum", 30), "the download differs")
                guest.must("dd if=/dev/hwrng bs=64 count=4 2>/dev/null | wc -c")
                held.append(footprint(guest.process.pid))
                guest.send("reboot -f\n" if number < rounds else "poweroff -f\n")
            guest.check_end(0)
        with open(disk, "rb") as f:
            need(f.read(512).startswith(b"round %d\n" % rounds), "the disk has not got the last write")
        with open(other, "rb") as f:
            need(not any(f.read()), "cow has written to the file")
    if runner.args.standin:
        return
    # The first boots may still warm up; later ones may be caught with a buffer in use.
    # The user-mode network's own sockets live for seconds: some late round must hold no more than some early one.
    early, late = ([Counter(entry[0]) for entry in rounds_held] for rounds_held in (held[1:4], held[-3:]))
    need(any(not b - a for a in early for b in late), f"descriptors in the first and the last rounds: {early} {late}")
    threads, memory = (([entry[n] for entry in held[1:4]], [entry[n] for entry in held[-3:]]) for n in (1, 2))
    need(min(threads[1]) <= max(threads[0]), f"threads in the first and the last rounds: {threads}")
    need(min(memory[1]) < max(memory[0]) + 1024, f"KiB of private memory in the first and the last rounds: {memory}")


@test
@lguest_only
def idle_devices(runner):
    """A guest that waits costs next to no CPU time with devices, either."""
    with runner.scratch() as directory:
        options = ["--block=" + make_disk(directory + "/disk", 4), "--net=user", "--rng"]
        with runner.shell(options=options) as guest:
            guest.must(DHCP, 30)
            guest.must("dd if=/dev/vda of=/dev/null bs=64k 2>/dev/null")
            time.sleep(2)
            before = guest.cpu_seconds()
            time.sleep(5)
            used = guest.cpu_seconds() - before
            need(used < 0.25, f"{used:.2f} s of CPU time in 5 s of idling")
            guest.power_off()


@test
def devices_together(runner):
    """Disks, networks and random numbers, all busy at once while somebody types."""
    with runner.scratch() as directory, web_server(directory) as port:
        paths = [make_disk(f"{directory}/disk{n}", 64) for n in range(3)]
        digest = random_file(directory + "/file", 20 << 20)
        pattern = random_file(paths[0], 16 << 20)
        options = [f"--block={paths[0]},ro,serial=first", f"--block={paths[1]},serial=second", f"--block={paths[2]},cow",
                   "--net=user", "--net=user", "--rng"]
        with runner.shell(options=options, tools=True, memory=768) as guest:
            need_equal(guest.must("cat /sys/block/vda/serial; echo; cat /sys/block/vdb/serial").split(), ["first", "second"], "serials")
            need_equal(guest.must("cat /sys/block/vd*/ro").split(), ["1", "0", "0"], "read-only flags")
            need("eth1" in guest.must("ls /sys/class/net"), "no second card")
            guest.must(DHCP, 30)
            guest.must("mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt", 60)
            jobs = [
                "sha256sum </dev/vda >/tmp/a",
                "dd if=/dev/vda of=/dev/vdc bs=64k conv=fsync 2>/tmp/b",
                "dd if=/dev/vda of=/mnt/copy bs=1M conv=fsync 2>/tmp/c",
                f"curl -s -o /tmp/d http://10.0.2.2:{port}/file",
                "dd if=/dev/hwrng of=/tmp/e bs=1000 count=200 iflag=fullblock 2>/dev/null",
            ]
            # In a subshell, so that the shell at the prompt has no job to report.
            guest.run("( (" + " ".join(f"({job}; echo $? >>/tmp/status) &" for job in jobs) + " wait; touch /tmp/done) & )")
            for number in range(10):
                need_equal(guest.run(f"echo $(({number} * 7))"), f"{number * 7}\n", "arithmetic under load")
            guest.must("while ! [ -e /tmp/done ]; do sleep 0.2; done", 120)
            need_equal(guest.must("cat /tmp/status").split(), ["0"] * len(jobs), "statuses of what ran at once")
            for file in ("/dev/vdc", "/mnt/copy"):
                text = guest.must(f"head -c {16 << 20} {file} | sha256sum", 60)
                need(pattern in text, f"{file} differs from its source: {text}")
            need(pattern in guest.must("cat /tmp/a"), "the read-only disk reads wrong")
            need(digest in guest.must("sha256sum </tmp/d"), "the download differs")
            need_equal(guest.must("stat -c %s /tmp/e"), "200000\n", "random bytes")
            guest.must("umount /mnt && e2fsck -fn /dev/vdb", 60)
            need_equal(guest.must("dmesg -r | grep '^<[0-3]>' | grep -i -E 'virtio|vd[abc]|eth' || true"), "", "complaints")
            guest.power_off()


@test
def apt(runner):
    """Debian's apt installs a package over user-mode networking from a server on the host."""
    with runner.scratch() as directory:
        package = directory + "/tree"
        os.makedirs(package + "/DEBIAN")
        os.makedirs(package + "/opt")
        with open(package + "/DEBIAN/control", "w", encoding="ascii") as f:
            f.write("Package: lguest-test\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\n"
                    "Description: a file of random bytes\n")
        digest = random_file(package + "/opt/random", 8 << 20)
        pool = directory + "/pool"
        os.mkdir(pool)
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", package, pool + "/lguest-test_1_all.deb"],
                       stdout=subprocess.DEVNULL, check=True)
        with open(pool + "/lguest-test_1_all.deb", "rb") as f:
            deb = f.read()
        with open(pool + "/Packages", "w", encoding="ascii") as f:
            f.write("Package: lguest-test\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\n"
                    f"Filename: ./lguest-test_1_all.deb\nSize: {len(deb)}\nSHA256: {hashlib.sha256(deb).hexdigest()}\n"
                    "Description: a file of random bytes\n")
        import test_debian  # not at the top: run.py would collect its tests in another order

        with web_server(pool) as port, runner.boot(
                append=["root=/dev/vda"], options=[f"--block={test_debian.debian_image()},cow", "--net=user"]) as guest:
            test_debian.log_in(guest, "ttyS0")
            guest.must(f"echo 'deb [trusted=yes] http://10.0.2.2:{port} ./' >/etc/apt/sources.list; rm -f /etc/apt/sources.list.d/*")
            guest.must("apt-get -q update && apt-get -qy install lguest-test", 120)
            need(digest in guest.must("sha256sum </opt/random"), "what was installed differs")
            guest.send("poweroff\n")
            guest.check_end(0, timeout=120)


def bad_options(directory):
    """(what, options, status, pattern of the line)"""
    disk = make_disk(directory + "/disk", 1)
    text = directory + "/file"
    open(text, "wb").close()
    return [
        ("missing disk", [f"--block={directory}/none"], EXIT_HOST, r"none: .*[Nn]o such file"),
        ("directory as a disk", [f"--block={directory}"], EXIT_HOST, r"directory|not a"),
        ("empty file name", ["--block="], EXIT_USAGE, r"--block"),
        ("only settings", ["--block=,ro"], EXIT_USAGE, r"--block"),
        ("unknown setting", [f"--block={disk},fast"], EXIT_USAGE, r"--block.*fast|fast.*--block"),
        ("setting that takes no value", [f"--block={disk},ro=1"], EXIT_USAGE, r"--block.*ro|ro.*--block"),
        ("serial without value", [f"--block={disk},serial="], EXIT_USAGE, r"serial"),
        ("serial too long", [f"--block={disk},serial={'x' * 21}"], EXIT_USAGE, r"serial.*20"),
        ("the same disk twice", [f"--block={disk}", f"--block={disk}"], EXIT_HOST, r"disk: .*(use|lock)"),
        ("nbd server that is not there", [f"--block=nbd+unix:///?socket={directory}/none"], EXIT_HOST, r"nbd"),
        ("unknown kind of network", ["--net=wifi"], EXIT_USAGE, r"--net.*wifi|wifi.*--net"),
        ("network without a kind", ["--net="], EXIT_USAGE, r"--net"),
        ("bad MAC address", ["--net=user,mac=12:34"], EXIT_USAGE, r"mac|MAC"),
        ("multicast MAC address", ["--net=user,mac=01:00:00:00:00:01"], EXIT_USAGE, r"mac|MAC|multicast"),
        ("bad forward", ["--net=user,hostfwd=tcp:80"], EXIT_USAGE, r"hostfwd"),
        ("bad port", ["--net=user,hostfwd=tcp:127.0.0.1:99999-:22"], EXIT_USAGE, r"hostfwd|port"),
        ("tap that is not there", ["--net=tap:lgnone0"], EXIT_HOST, r"lgnone0"),
        ("tap without a name", ["--net=tap:"], EXIT_USAGE, r"tap"),
        ("tunnet without address", ["--tunnet="], EXIT_USAGE, r"--tunnet"),
        ("tunnet with a bad address", ["--tunnet=1.2.3"], EXIT_USAGE, r"--tunnet.*1\.2\.3|1\.2\.3.*--tunnet"),
        ("tunnet with a bridge that is not there", ["--tunnet=bridge:lgnone0"], EXIT_HOST, r"lgnone0"),
        ("value for --rng", ["--rng=yes"], EXIT_USAGE, r"--rng"),
        ("too many devices", ["--rng"] * 40, EXIT_USAGE, r"too many devices|at most"),
    ]


@test
@lguest_only
def bad_device_options(runner):
    """Each wrong option of a device: one line on standard error that names it, and the status."""
    wrong = []
    with runner.scratch() as directory:
        for what, options, status, pattern in bad_options(directory):
            argv = [runner.args.lguest, *options, "--initrd=" + initramfs("cloud61"), "512", kernel_image("cloud61"),
                    "console=ttyS0", "lguest.run=true"]
            try:
                done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      timeout=30, check=False)
            except subprocess.TimeoutExpired:
                wrong.append(f"{what}: boots and hangs")
                continue
            errors = done.stderr.decode(errors="replace")
            if done.returncode != status:
                wrong.append(f"{what}: status {done.returncode}, not {status}: {errors!r}")
            elif not re.fullmatch(r"lguest: [^\n]+\n", errors) or not re.search(pattern, errors):
                wrong.append(f"{what}: says {errors!r}")
            elif done.stdout:
                wrong.append(f"{what}: prints {done.stdout[:80]!r}")
    need(not wrong, "\n".join(wrong))
