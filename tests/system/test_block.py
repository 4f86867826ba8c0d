# SPDX-License-Identifier: GPL-2.0-or-later
"""--block: file systems on it, all kinds of images, errors, and lguest being killed."""
import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import time

from harness import EXIT_HOST, Runner, for_each, lguest_only, make_disk, need, need_equal, test

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20

# All that fio writes is read back and compared; fsync every few writes.
FIO = (
    "fio --name=t --filename={0} --size={1}M --rw=randrw --bsrange=512-64k --bs_unaligned=0 --blockalign=512 --direct={2} "
    "--ioengine=libaio --iodepth=16 --fsync=16 --verify=crc32c --verify_fatal=1 --randrepeat=0 --output=/tmp/fio"
)


def digest(path):
    return subprocess.run(["sha256sum", path], stdout=subprocess.PIPE, check=True).stdout.split()[0]


def used(path):
    """Bytes that the host's file system holds for it."""
    return os.stat(path).st_blocks * 512


def fio(guest, disk="/dev/vda", mib=8, direct=1):
    guest.must(FIO.format(disk, mib, direct) + " || { cat /tmp/fio; false; }", 120)


@for_each(("cloud61", "cloud612"))
def block_filesystem(runner, value):
    """Two disks with serials: mkfs, mount, fsck, fio with verification, discards, read-only mount."""
    with runner.scratch() as directory:
        first, second = make_disk(directory + "/first", 64), make_disk(directory + "/second", 48.5)
        options = [f"--block={first},serial=first-one", f"--block={second},serial=12345678901234567890"]
        with runner.shell(kernel=value, options=options, tools=True) as guest:
            need_equal(guest.must("cat /sys/block/vda/serial"), "first-one", "serial of vda")
            need_equal(guest.must("cat /sys/block/vdb/serial"), "12345678901234567890", "serial of vdb")
            need_equal(guest.must("cat /sys/block/vdb/size"), "99328\n", "sectors of vdb")
            fio(guest)
            guest.must("mkfs.ext4 -q -F /dev/vda && mount /dev/vda /mnt")
            guest.must("cp -a /bin /lib /mnt && sync && echo 3 >/proc/sys/vm/drop_caches")
            guest.must("cd / && find bin lib -type f -exec sha256sum {} + >/tmp/sums && cd /mnt && sha256sum -c /tmp/sums >/tmp/result; cd /", 120)
            need("FAILED" not in guest.must("cat /tmp/result"), "files differ")
            guest.must("umount /mnt && e2fsck -fn /dev/vda")
            before = used(first)
            guest.must("/sbin/blkdiscard -f -o 16M -l 32M /dev/vda")
            need(used(first) < before or before < 16 * MIB, "a discard gives nothing back")
            guest.must("/sbin/blkdiscard -f /dev/vda")
            need(used(first) < MIB, f"{used(first)} bytes are left after a discard of everything")
            guest.must("dd if=/dev/urandom of=/dev/vda bs=1M count=8 conv=fsync 2>/dev/null")
            guest.must("/sbin/blkdiscard -f -z -o 1M -l 2M /dev/vda && dd if=/dev/vda bs=1M skip=1 count=2 2>/dev/null | cmp -n 2097152 - /dev/zero")
            # The second is made for the next boot.
            guest.must("mkfs.ext4 -q -F /dev/vdb && mount /dev/vdb /mnt && cp /bin/busybox /mnt && umount /mnt")
            guest.power_off()
        with open(first, "rb") as f:
            image = f.read(8 * MIB)
        need(image[MIB : 3 * MIB] == bytes(2 * MIB), "zeroes of blkdiscard -z are not in the file")
        need(any(image[3 * MIB : 8 * MIB]), "what the guest wrote is not in the file")
        before = digest(second)
        with runner.shell(kernel=value, options=[f"--block={second},ro"], tools=True) as guest:
            need_equal(guest.must("cat /sys/block/vda/ro"), "1\n", "read-only")
            guest.must("mount -o ro /dev/vda /mnt && cmp /mnt/busybox /bin/busybox && umount /mnt")
            need("=0=" not in guest.run("dd if=/dev/zero of=/dev/vda count=1 conv=fsync; echo =$?="), "a read-only disk takes writes")
            guest.power_off()
        need_equal(digest(second), before, "the read-only image")


@test
def block_cow(runner):
    """With cow the guest can write, and the image stays as it is."""
    with runner.scratch() as directory:
        disk = make_disk(directory + "/disk", 64)
        subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True)
        os.chmod(disk, 0o444)
        before = digest(disk)
        for _ in range(2):
            with runner.shell(options=[f"--block={disk},cow"], tools=True) as guest:
                # Nothing is left of the first time.
                guest.must("mount -o discard /dev/vda /mnt && test ! -e /mnt/new && cp -a /bin /mnt/new && rm -r /mnt/lost+found")
                guest.must("umount /mnt && e2fsck -fn /dev/vda && mount /dev/vda /mnt && test -e /mnt/new && umount /mnt")
                fio(guest)
                guest.must("/sbin/blkdiscard -f -l 16M /dev/vda && cmp -n 16777216 /dev/vda /dev/zero")
                guest.power_off()
            need_equal(digest(disk), before, "the image below cow")


@for_each(("direct", "threads", "direct-threads"))
def block_other(runner, value):
    """The same through other ways to the host's file: ,direct, and where io_uring is forbidden."""
    with runner.scratch() as directory:
        disk = make_disk(directory + "/disk", 32)
        option = f"--block={disk}" + (",direct" if "direct" in value else "")
        if "threads" in value and not runner.args.standin:
            runner = wrapped(runner, directory, f"{HERE}/no_uring.py")
        with runner.shell(options=[option], tools=True) as guest:
            fio(guest)
            fio(guest, direct=0)
            guest.must("mkfs.ext4 -q -F /dev/vda && mount /dev/vda /mnt && cp /bin/busybox /mnt && sync")
            guest.must("umount /mnt && mount /dev/vda /mnt && cmp /mnt/busybox /bin/busybox && umount /mnt && e2fsck -fn /dev/vda")
            guest.must("/sbin/blkdiscard -f -z /dev/vda && cmp -n 33554432 /dev/vda /dev/zero")
            guest.power_off()


def wrapped(runner, directory, command):
    """A runner that starts lguest by that shell command, with lguest's command line behind it."""
    script = directory + "/wrapper"
    with open(script, "w", encoding="ascii") as f:
        f.write(f'#!/bin/sh\nexec {command} {runner.args.lguest} "$@"\n')
    os.chmod(script, 0o755)
    return Runner(argparse.Namespace(**{**vars(runner.args), "lguest": script}))


@test
@lguest_only
def block_full(runner):
    """The host's file system is full: the guest gets errors, nothing else breaks."""
    with runner.scratch() as directory:
        small = directory + "/small"
        os.mkdir(small)

        def inside(setup):
            """lguest behind that shell command, with a file system of 24 MiB that only it sees."""
            return wrapped(runner, directory, f"unshare -rm sh -c 'mount -t tmpfs -o size=24m none {small} && {setup} && exec \"$@\"' sh")

        with inside(f"truncate -s 64M {small}/disk").shell(options=[f"--block={small}/disk"], tools=True) as guest:
            need("=0=" not in guest.run("dd if=/dev/urandom of=/dev/vda bs=1M oflag=direct; echo =$?="), "no error at a full disk")
            # What is there can still be read and overwritten, and space be given back.
            guest.must("dd if=/dev/vda of=/dev/null bs=1M count=16 iflag=direct")
            guest.must("dd if=/dev/zero of=/dev/vda bs=1M count=8 oflag=direct")
            guest.must("/sbin/blkdiscard -f /dev/vda")
            fio(guest)
            guest.must("mkfs.ext4 -q -F /dev/vda && mount /dev/vda /mnt")
            need("=0=" not in guest.run("dd if=/dev/urandom of=/mnt/f bs=1M count=40 conv=fsync; echo =$?="), "no error at a full disk")
            guest.run("umount /mnt")
            guest.must("/sbin/blkdiscard -f /dev/vda && mkfs.ext4 -q -F /dev/vda && mount /dev/vda /mnt && umount /mnt && e2fsck -fn /dev/vda")
            guest.power_off()
        # The private file of a copy on write
        disk = make_disk(directory + "/disk", 64)
        with inside(f"export TMPDIR={small}").shell(options=[f"--block={disk},cow"], tools=True) as guest:
            need("=0=" not in guest.run("dd if=/dev/urandom of=/dev/vda bs=1M oflag=direct; echo =$?="), "no error at a full disk")
            guest.must("dd if=/dev/vda of=/dev/null bs=1M iflag=direct && /sbin/blkdiscard -f /dev/vda")
            fio(guest)
            guest.power_off()
        need_equal(used(disk), 0, "what cow left in the image")


@contextlib.contextmanager
def server(*command, socket):
    """Another program, with its socket open."""
    process = subprocess.Popen(command)
    try:
        for _ in range(500):
            if os.path.exists(socket):
                break
            time.sleep(0.01)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@test
@lguest_only
def block_nbd(runner):
    """A qcow2 image through qemu-nbd, and what happens when the server dies."""
    need(shutil.which("qemu-nbd") and shutil.which("nbdkit"), "no qemu-nbd, no nbdkit (scripts/setup.sh test)")
    with runner.scratch() as directory:
        image, socket = directory + "/image.qcow2", directory + "/socket"
        uri = f"--block=nbd+unix:///?socket={socket}"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "64M"], check=True)
        # Without the server it is refused, with a word on what to do.
        with runner.boot(options=["--block=" + image]) as guest:
            guest.check_end(EXIT_HOST, r"qcow2 image .*qemu-nbd")
        with server("qemu-nbd", "-t", "-f", "qcow2", "--discard=unmap", "-k", socket, image, socket=socket) as nbd:
            with runner.shell(options=[uri], tools=True) as guest:
                fio(guest)
                guest.must("/sbin/blkdiscard -f -z /dev/vda && mkfs.ext4 -q -F /dev/vda && mount /dev/vda /mnt")
                guest.must("cp -a /bin /mnt && umount /mnt && e2fsck -fn /dev/vda")
                guest.power_off()
            nbd.terminate()
            nbd.wait()
        subprocess.run(["qemu-img", "check", "-q", image], check=True)
        socket += "2"
        with server("nbdkit", "-f", "-U", socket, "memory", "64M", socket=socket) as nbd:
            with runner.shell(options=[uri + "2"], tools=True) as guest:
                fio(guest)
                guest.send("while dd if=/dev/zero of=/dev/vda bs=64k count=512 oflag=direct 2>/tmp/err; do :; done; cat /tmp/err\n")
                time.sleep(0.3)
                nbd.kill()
                guest.expect(rb"Input/output error\r*\n", 20, "an I/O error")
                guest.expect(guest.prompt)
                need("=0=" not in guest.run("dd if=/dev/vda of=/dev/null count=1 iflag=direct; echo =$?="), "a dead server answers")
                guest.power_off()


@test
@lguest_only
def block_errors(runner):
    """What cannot be a disk is refused with one line, and images are locked."""
    with runner.scratch() as directory:
        disk = make_disk(directory + "/disk", 8)
        for option, error in (
            (directory, "a directory"),
            (directory + "/none", "No such file"),
            ("/dev/tty", "a character device"),
        ):
            with runner.boot(options=["--block=" + option]) as guest:
                guest.check_end(EXIT_HOST, rf"\Alguest: --block={option}: [^\n]*{error}[^\n]*\n\Z")
        with runner.shell(options=["--block=" + disk]):
            for how in ("", ",ro", ",cow"):
                with runner.boot(options=[f"--block={disk}{how}"]) as guest:
                    guest.check_end(EXIT_HOST, r"in use as a writable disk")
        with runner.shell(options=[f"--block={disk},ro"]):
            with runner.boot(options=[f"--block={disk}"]) as guest:
                guest.check_end(EXIT_HOST, r"in use as a read-only disk")
            with runner.shell(options=[f"--block={disk},cow", f"--block={disk},ro"]) as guest:
                guest.must("test -b /dev/vdb")
                guest.power_off()


@test
def block_unbind(runner):
    """The guest's driver lets go of the disk and takes it again, and the guest reboots under load."""
    with runner.scratch() as directory:
        disk = make_disk(directory + "/disk", 32)
        with runner.shell(options=["--block=" + disk], tools=True) as guest:
            device = guest.must("basename $(readlink -f /sys/block/vda/device)").strip()
            load = "((while dd if=/dev/zero of=/dev/vda bs=64k oflag=direct conv=notrunc && dd if=/dev/vda of=/dev/null bs=4k; do :; done) >/dev/null 2>&1 &)"
            for _ in range(5):
                guest.must(load)
                guest.must(f"sleep 0.1; echo {device} >/sys/bus/virtio/drivers/virtio_blk/unbind")
                guest.must(f"while pidof dd; do sleep 0.1; done; echo {device} >/sys/bus/virtio/drivers/virtio_blk/bind && test -b /dev/vda")
            fio(guest)
            for _ in range(2):
                guest.must(load)
                guest.send("sleep 0.1; reboot -f\n")
                runner.to_prompt(guest)
            fio(guest, mib=2)
            guest.power_off()


# ---- lguest is killed ----

WRITERS, RECORDS, RECORD = 3, 64, 4096


def build_records(directory):
    """The writer, for the guest, as a disk image with a length in front."""
    program, image = directory + "/records", directory + "/records.img"
    subprocess.run(["gcc", "-static", "-O1", "-o", program, os.path.join(HERE, "records.c")], check=True)
    with open(program, "rb") as f, open(image, "wb") as out:
        data = f.read()
        out.write(data + bytes(-len(data) % 512))
    return image


def check_records(image, first, acknowledged, what):
    """Every acknowledged record is there, whole; or a later one in its place."""
    for writer, last in acknowledged.items():
        for n in range(max(first, last - RECORDS + 1), last + 1):
            at = (writer * RECORDS + n % RECORDS) * RECORD
            words = set(struct.unpack(f"<{RECORD // 8}Q", image[at : at + RECORD]))
            # Reports that nobody has read when the plug was pulled: later records, the last of them perhaps torn.
            fine = all(w >> 32 == writer and w & 0xFFFFFFFF >= n and (w - n) % RECORDS == 0 for w in words)
            need(fine and len(words) <= 2, f"{what}: record {n} of writer {writer}, acknowledged up to {last}, is {[hex(w) for w in words][:4]}")


def kill_once(runner, disk, program, target, prepare, first):
    """A guest that is killed in the middle of its writing; returns what it had acknowledged."""
    with runner.shell(options=[f"--block={disk}", f"--block={program},ro"]) as guest:
        guest.must("cat /dev/vdb >/tmp/records && chmod +x /tmp/records")
        if prepare:
            guest.must(prepare)
        guest.send(f"/tmp/records {target} {WRITERS} {first}\n")
        guest.expect(rb"^ack ", what="first record")
        end = time.monotonic() + random.uniform(0.01, 0.8)
        while time.monotonic() < end:
            guest._read(0.001)
        guest.signal(signal.SIGKILL)
        guest.wait()
        acknowledged = {}
        for writer, n in re.findall(rb"^ack (\d+) (\d+)\r*\n", guest.screen, re.MULTILINE):
            acknowledged[int(writer)] = int(n)
        return acknowledged


@test
@lguest_only
def block_kill(runner):
    """SIGKILL at random moments of a load with fsync: no acknowledged write is lost (--long: 50 rounds)."""
    rounds = 50 if runner.args.long else 6
    with runner.scratch() as directory:
        program = build_records(directory)
        disk, first, total = make_disk(directory + "/disk", 8), 1, 0
        for n in range(rounds):
            acknowledged = kill_once(runner, disk, program, "/dev/vda", None, first)
            with open(disk, "rb") as f:
                image = f.read()
            need(acknowledged, "nothing was acknowledged")
            check_records(image, first, acknowledged, f"round {n + 1}")
            total += sum(last - first + 1 for last in acknowledged.values())
            # New numbers, so that what an earlier round left cannot pass for this one's.
            first = (max(acknowledged.values()) // RECORDS + 2) * RECORDS + 1
        print(f"    {rounds} rounds, {total} acknowledged writes")


@test
@lguest_only
def block_kill_ext4(runner):
    """The same in a file on ext4, which is mounted, checked and read by the next guest (--long: 20 rounds)."""
    rounds = 20 if runner.args.long else 2
    with runner.scratch() as directory:
        program = build_records(directory)
        disk, first = make_disk(directory + "/disk", 32), 1
        subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True)
        size = WRITERS * RECORDS * RECORD
        for n in range(rounds):
            acknowledged = kill_once(runner, disk, program, "/mnt/f", "mount /dev/vda /mnt", first)
            need(acknowledged, "nothing was acknowledged")
            out = make_disk(directory + "/out", 1)
            with runner.shell(options=[f"--block={disk}", f"--block={out}"], tools=True) as guest:
                guest.must(f"mount /dev/vda /mnt && dd if=/mnt/f of=/dev/vdb bs={size} count=1 conv=fsync && umount /mnt")
                guest.must("e2fsck -fn /dev/vda")
                guest.power_off()
            with open(out, "rb") as f:
                check_records(f.read(), first, acknowledged, f"round {n + 1}")
            first = (max(acknowledged.values()) // RECORDS + 2) * RECORDS + 1
