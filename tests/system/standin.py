# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's TCG in place of lguest: its command line for lguest's options."""


def block(options, number, value):
    name, *flags = value.split(",")
    device = f"virtio-blk-pci,drive=disk{number},disable-legacy=on"
    drive = f"if=none,id=disk{number},format=raw,discard=unmap,detect-zeroes=unmap,file={name}"
    for flag in flags:
        key, _, text = flag.partition("=")
        if key == "ro":
            drive += ",readonly=on"
        elif key == "cow":
            drive += ",snapshot=on"
        elif key == "serial":
            device += ",serial=" + text
        elif key == "direct":
            drive += ",cache.direct=on"
    return [*options, "-drive", drive, "-device", device]


def net(options, number, value):
    kind, *flags = value.split(",")
    device = f"virtio-net-pci,netdev=net{number},romfile=,disable-legacy=on"
    name, _, rest = kind.partition(":")
    backend = f"user,id=net{number}" if name == "user" else f"tap,id=net{number},ifname={rest},script=no,downscript=no"
    for flag in flags:
        key, _, text = flag.partition("=")
        if key == "mac":
            device += ",mac=" + text
        else:
            backend += "," + flag
    return [*options, "-netdev", backend, "-device", device]


def argv(kernel, memory, append, options, initrd):
    """The command; options that have no equal there are left out."""
    out = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-nodefaults", "-display", "none", "-m", str(memory)]
    hvc = any(word.startswith("console=hvc") for word in append)
    out += ["-chardev", "stdio,id=tty,mux=on,signal=off", "-serial", "none" if hvc else "chardev:tty"]
    for number, option in enumerate(options):
        name, _, value = option.partition("=")
        if name == "--no-reboot":
            out.append("-no-reboot")
        elif name == "--block":
            out = block(out, number, value)
        elif name == "--net":
            out = net(out, number, value)
        elif name == "--rng":
            out += ["-device", "virtio-rng-pci,disable-legacy=on"]
    if hvc:
        out += ["-device", "virtio-serial-pci,disable-legacy=on", "-device", "virtconsole,chardev=tty"]
    return out + ["-kernel", kernel, "-initrd", initrd, "-append", " ".join(append)]
