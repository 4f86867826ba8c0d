# SPDX-License-Identifier: GPL-2.0-or-later
"""--net, --tunnet: user mode, taps, bridges; each test in a network namespace of its own."""
import argparse
import contextlib
import ctypes
import hashlib
import http.server
import os
import re
import socket
import subprocess
import threading
import time

from harness import EXIT_HOST, EXIT_POWER_OFF, Runner, for_each, initramfs, kernel_image, lguest_only, need, need_equal, test

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000

# What busybox's udhcpc calls with what it was told.
DHCP = (
    "printf '#!/bin/sh\\n[ $1 = bound ] || exit 0\\nip addr add $ip/24 dev $interface; ip route add default via $router\\n"
    "echo nameserver $dns >/etc/resolv.conf\\n' >/tmp/dhcp && chmod +x /tmp/dhcp && ip link set lo up && ip link set eth0 up && "
    "udhcpc -i eth0 -n -q -s /tmp/dhcp 2>&1"
)


def check(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def sh(command):
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def namespace(runner, kernel="cloud61"):
    """This process, and all that it starts, in a network of its own with nothing but loopback."""
    # What is missing has to be fetched before.
    kernel_image(kernel)
    initramfs(kernel, True)
    with open("/proc/self/ns/net", "rb") as home:
        check(LIBC.unshare(CLONE_NEWNET), "unshare: network tests need root")
        try:
            sh("ip link set lo up")
            yield
        finally:
            check(LIBC.setns(home.fileno(), CLONE_NEWNET), "setns")


@contextlib.contextmanager
def running(*argv):
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def iperf_server(address="127.0.0.1"):
    with running("iperf3", "-s"):
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection((address, 5201), 1):
                break
            need(time.monotonic() < deadline, "iperf3 does not listen")
            time.sleep(0.05)
        yield


def iperf(guest, server, *options, seconds=1):
    """Mbit/s at the receiver."""
    text = guest.must(f"iperf3 -f m -t {seconds} -c {server} {' '.join(options)}", 60)
    rates = re.findall(r"([0-9.]+) Mbits/sec.*receiver", text)
    need(rates, f"iperf3: {text}")
    return float(rates[-1])


def no_losses(guest):
    """Under --verbose the card tells at the end what it threw away."""
    lines = re.findall(r"net\d+: received.*", guest.errors.decode())
    need(lines, "no statistics of the network card")
    for line in lines:
        need("sent 0 packets" not in line and re.search(r" 0 lost\); sent .*\(0 malformed, 0 lost\)", line), line)


def unprivileged(runner, directory):
    """A runner that starts lguest as a user who may nothing."""
    script = directory + "/nobody"
    with open(script, "w", encoding="ascii") as f:
        # Debian's /dev/net/tun is everybody's; not so in every container.
        f.write(
            f"""#!/bin/sh
exec unshare -m sh -c 'mount --bind {directory}/tun /dev/net/tun && exec "$@"' sh \\
    setpriv --reuid=65534 --regid=65534 --clear-groups {runner.args.lguest} "$@"
"""
        )
    sh(f"test -e {directory}/tun || mknod -m 666 {directory}/tun c 10 200")
    os.chmod(directory, 0o755)
    os.chmod(script, 0o755)
    return Runner(argparse.Namespace(**{**vars(runner.args), "lguest": script}))


# User mode


class Files(http.server.BaseHTTPRequestHandler):
    """GET answers with server.content, PUT keeps what is sent."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):  # pylint: disable=invalid-name
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def do_PUT(self):  # pylint: disable=invalid-name
        self.server.received = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *unused):
        pass


@contextlib.contextmanager
def web_server(content, address="127.0.0.1"):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = type("Server", (http.server.ThreadingHTTPServer,), {"address_family": family})
    with kind((address, 0), Files) as server:
        server.content = content
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def name_server():
    """Answers each question for an IPv4 address with 192.0.2.7, where the host would ask."""
    with open("/etc/resolv.conf", encoding="ascii") as f:
        address = re.search(r"^nameserver\s+([0-9.]+)", f.read(), re.MULTILINE).group(1)
    if not address.startswith("127."):
        sh(f"ip addr add {address}/32 dev lo")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, 53))
        server.settimeout(0.2)
        stop = threading.Event()

        def serve():
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    query, peer = server.recvfrom(512)
                    end = query.index(0, 12) + 5  # name, type, class
                    found = query[end - 4 : end - 2] == b"\0\1"
                    answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([192, 0, 2, 7]) if found else b""
                    server.sendto(query[:2] + b"\x81\x80\0\1" + bytes([0, found]) + bytes(4) + query[12:end] + answer, peer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ask(port, data, address="127.0.0.1", deadline=10):
    """What the guest's server at that forwarded port answers. It may not be there yet."""
    deadline += time.monotonic()
    while True:
        answer = b""
        with contextlib.suppress(OSError), socket.create_connection((address, port), 10) as s:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            while piece := s.recv(65536):
                answer += piece
        if answer or time.monotonic() > deadline:
            return answer
        time.sleep(0.1)


@for_each(("cloud61", "cloud612"))
def net_user(runner, value):
    """User mode, by a user without privileges: DHCP, DNS, IPv6, HTTP both ways, forwarded ports."""
    content = os.urandom(1 << 20) * (300 if runner.args.long else 30)
    port, udp, port6 = free_port(), free_port(), free_port()
    option = f"--net=user,hostfwd=tcp:127.0.0.1:{port}-:80,hostfwd=udp:127.0.0.1:{udp}-:81"
    if not runner.args.standin:
        option += f",hostfwd=tcp:[::1]:{port6}-:80"
    with runner.scratch() as directory, namespace(runner, value), web_server(content) as server, name_server():
        if not runner.args.standin:
            runner = unprivileged(runner, directory)
        with runner.shell(kernel=value, memory=1024, options=[option, "--verbose"], tools=True) as guest:
            need("10.0.2.15 obtained from 10.0.2.2" in guest.must(DHCP, 30), "no DHCP")
            guest.must("ping -c 2 -W 5 10.0.2.2")
            need("192.0.2.7" in guest.must("nslookup -type=a a.test 10.0.2.3"), "no DNS")
            guest.must("i=0; until ip -6 addr show dev eth0 scope site | grep -q fec0; do sleep 0.2; i=$((i+1)); [ $i -lt 50 ]; done")
            guest.must("ping -6 -c 2 -W 5 fec0::2")
            url = f"http://10.0.2.2:{server.server_port}/file"
            guest.must(f"curl -sS -o /tmp/file {url}", 60)
            need_equal(guest.must("sha256sum </tmp/file").split()[0], hashlib.sha256(content).hexdigest(), "download")
            guest.must(f"curl -sS -T /tmp/file {url}", 60)
            need(server.received == content, "what was uploaded is something else")
            with web_server(content[: 5 << 20], "::1") as server6:
                guest.must(f"curl -sS -g -o /tmp/file6 http://[fec0::2]:{server6.server_port}/")
                guest.must("cmp -n 5242880 /tmp/file /tmp/file6")
            guest.must("(nc -l -p 80 -e tr a-z A-Z &)")
            need_equal(ask(port, b"hello\n"), b"HELLO\n", "through the forwarded port")
            if not runner.args.standin:
                guest.must("(nc -l -p 80 -e tr a-z A-Z &)")
                need_equal(ask(port6, b"six\n", "::1"), b"SIX\n", "through the forwarded port, IPv6")
            # Idle, with a connection open.
            guest.must(f"(sleep 1000 | nc 10.0.2.2 {server.server_port} &); sleep 1")
            before = guest.cpu_seconds()
            time.sleep(2)
            used = guest.cpu_seconds() - before
            need(used < 0.1, f"idle, and {used:.2f} s of CPU in 2 s")
            guest.power_off()
        if not runner.args.standin:
            no_losses(guest)


@test
def net_user_speed(runner):
    """User mode: iperf3 in both directions, TCP and UDP (fragments, too), IPv4 and IPv6; nothing is lost."""
    with namespace(runner), iperf_server():
        with runner.shell(options=["--net=user", "--verbose"], tools=True) as guest:
            guest.must(DHCP, 30)
            rates = [iperf(guest, "10.0.2.2"), iperf(guest, "10.0.2.2", "-R")]
            guest.must("until ip -6 addr show dev eth0 scope site | grep -q fec0; do sleep 0.2; done")
            rates += [iperf(guest, "fec0::2", "-6"), iperf(guest, "fec0::2", "-6", "-R"), iperf(guest, "10.0.2.2", "-P", "4")]
            need(min(rates) > 20, f"Mbit/s: {rates}")
            for options in ("-l 1400", "-l 20000", "-l 20000 -R"):
                text = guest.must(f"iperf3 -f m -u -b 20M -t 1 -c 10.0.2.2 {options}", 60)
                lost = int(re.search(r" (\d+)/\d+ \([0-9.e+-]+%\)\s+receiver", text).group(1))
                need(lost <= 3, f"UDP {options}: {text}")
            guest.power_off()
        if not runner.args.standin:
            no_losses(guest)


@test
@lguest_only
def net_user_reboot(runner):
    """After a reboot all is as after the first start: addresses, forwarded ports, the same descriptors."""
    port = free_port()
    descriptors = []
    with namespace(runner):
        with runner.shell(options=[f"--net=user,hostfwd=tcp:127.0.0.1:{port}-:80"], tools=True) as guest:
            for count in range(10 if runner.args.long else 3):
                need("10.0.2.15" in guest.must(DHCP, 30), f"no DHCP after {count} reboots")
                descriptors.append(len(os.listdir(f"/proc/{guest.process.pid}/fd")))
                guest.must("(nc -l -p 80 -e tr a-z A-Z &)")
                need_equal(ask(port, b"hello\n"), b"HELLO\n", f"forwarded port after {count} reboots")
                # A connection that the reboot cuts off.
                with socket.create_connection(("127.0.0.1", port), 10):
                    guest.send("reboot -f\n")
                    runner.to_prompt(guest)
            need(max(descriptors) <= descriptors[0] + 1, f"descriptors: {descriptors}")
            guest.power_off()


# Taps and bridges


def flood(address):
    """More packets than a guest can take, for a second."""
    stop = time.monotonic() + 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setblocking(False)
        while time.monotonic() < stop:
            with contextlib.suppress(OSError):
                s.sendto(b"x" * 100, (address, 9))


@for_each(("cloud61", "cloud612"))
def net_tunnet(runner, value):
    """--tunnet=IP:MAC as in the original: host's address, iperf3 both ways, offloads, MAC, IPv6, no loss."""
    with namespace(runner, value):
        if runner.args.standin:
            sh("ip tuntap add dev tap0 mode tap vnet_hdr && ip addr add 192.168.19.1/24 dev tap0 && ip link set tap0 up")
            options = ["--net=tap:tap0,mac=02:00:5e:00:53:01"]
        else:
            options = ["--tunnet=192.168.19.1:02:00:5e:00:53:01", "--verbose"]
        with runner.shell(kernel=value, options=options, tools=True) as guest:
            guest.must("ip addr add 192.168.19.2/24 dev eth0 && ip link set eth0 up")
            need("link/ether 02:00:5e:00:53:01" in guest.must("ip link show dev eth0"), "another MAC address")
            need("1\n" == guest.must("cat /sys/class/net/eth0/carrier"), "no carrier")
            guest.must("ping -c 3 -W 5 192.168.19.1")
            guest.must("ping -c 2 -W 5 -s 6000 192.168.19.1")
            features = guest.must("ethtool -k eth0")
            for name in ("rx-checksumming", "tx-checksumming", "scatter-gather", "tx-tcp-segmentation", "tx-tcp6-segmentation"):
                need(re.search(rf"{name}: on", features), f"{name} is not on: {features}")
            guest.must("(nc -l -p 80 -e tr a-z A-Z &)")
            need_equal(ask(80, b"hello\n", "192.168.19.2"), b"HELLO\n", "from the host to the guest")
            with iperf_server("192.168.19.1"):
                rates = [iperf(guest, "192.168.19.1"), iperf(guest, "192.168.19.1", "-R"), iperf(guest, "192.168.19.1", "-P", "3", "--bidir")]
                need(min(rates) > 20, f"Mbit/s: {rates}")
                # Without offloads, too: other paths on both sides.
                guest.must("ethtool -K eth0 tx off tso off gso off gro off sg off rx-gro-hw off")
                need(iperf(guest, "192.168.19.1") > 20, "without offloads")
                need(iperf(guest, "192.168.19.1", "-R") > 20, "without offloads, the other way")
            # Too much for anybody: it stays usable, and works when they end.
            flood("192.168.19.2")
            guest.must("ping -c 2 -W 5 192.168.19.1", 20)
            guest.power_off()
        if not runner.args.standin:
            no_losses(guest)
            need_equal(subprocess.run(["ip", "link", "show", "tap0"], stderr=subprocess.DEVNULL, check=False).returncode, 1, "tap0 is left behind")


@test
@lguest_only
def net_bridge(runner):
    """Two guests on a bridge talk to each other and to the host; the filter keeps other packets off."""
    with namespace(runner):
        sh("ip link add br0 address 02:00:5e:00:53:00 type bridge && ip addr add 192.168.20.1/24 dev br0 && ip link set br0 up")
        options = ["--tunnet=bridge:br0", "--verbose"]
        with runner.shell(options=options, tools=True) as one, runner.shell(options=options, tools=True) as two:
            for number, guest in ((2, one), (3, two)):
                guest.must(f"ip addr add 192.168.20.{number}/24 dev eth0 && ip link set eth0 up")
            macs = [re.search("link/ether (..:..:..:..:..:..)", guest.must("ip link show dev eth0")).group(1) for guest in (one, two)]
            need(macs[0] != macs[1], f"both guests are {macs[0]}")
            one.must("ping -c 3 -W 5 192.168.20.3")
            two.must("ping -c 3 -W 5 192.168.20.1")
            two.must("iperf3 -s -D && sleep 1")
            rates = [iperf(one, "192.168.20.3"), iperf(one, "192.168.20.3", "-R")]
            need(min(rates) > 20, f"Mbit/s: {rates}")
            one.power_off()
            two.must("ping -c 1 -W 5 192.168.20.1")
            two.power_off()
        for guest in (one, two):
            no_losses(guest)


@test
def net_tap(runner):
    """An existing tap of the user's, without privileges: MTU of 9000, two cards, the tap deleted under the guest."""
    with runner.scratch() as directory, namespace(runner):
        for number in range(2):
            sh(f"ip tuntap add dev mytap{number} mode tap user 65534 vnet_hdr && ip link set mytap{number} mtu 9000")
            sh(f"ip addr add 192.168.3{number}.1/24 dev mytap{number} && ip link set mytap{number} up")
        if not runner.args.standin:
            runner = unprivileged(runner, directory)
        options = ["--net=tap:mytap0,mac=02:00:5e:00:53:07", "--net=tap:mytap1"]
        with runner.shell(options=options, tools=True) as guest, iperf_server("192.168.30.1"):
            for number in range(2):
                guest.must(f"ip addr add 192.168.3{number}.2/24 dev eth{number} && ip link set eth{number} up")
                if not runner.args.standin:
                    need_equal(guest.must(f"cat /sys/class/net/eth{number}/mtu"), "9000\n", "MTU")
                guest.must(f"ping -c 2 -W 5 192.168.3{number}.1")
            need("53:07" in guest.must("cat /sys/class/net/eth0/address"), "MAC address")
            guest.must("ip link set eth0 mtu 9000; ping -c 2 -W 5 -s 8972 192.168.30.1")
            need(iperf(guest, "192.168.30.1", "-R") > 20, "slow")
            if not runner.args.standin:
                sh("ip link del mytap0")
                guest.run("ping -c 1 -W 1 192.168.30.1")
                need_equal(guest.must("cat /sys/class/net/eth0/carrier"), "0\n", "carrier of a card whose network is gone")
                guest.must("ping -c 2 -W 5 192.168.31.1")
            guest.power_off()
        if not runner.args.standin:
            need_equal(guest.errors.count(b"mytap0"), 1, f"lines about mytap0: {guest.errors}")


# Errors


def refused(runner, options, pattern):
    with runner.boot(options=options) as guest:
        guest.check_end(EXIT_HOST)
        text = guest.errors.decode()
        need(re.fullmatch(rf"lguest: {pattern}\n", text), f"{options}: {text!r}")


@test
@lguest_only
def net_errors(runner):
    """What cannot work is refused with one line that says what to do."""
    with runner.scratch() as directory, namespace(runner):
        nobody = unprivileged(runner, directory)
        sh("ip link add br0 type bridge && ip link set br0 up && ip addr add 192.168.7.1/24 dev br0")
        sh("ip tuntap add dev rootonly mode tap user 1 vnet_hdr")
        refused(runner, ["--net=tap:nothere"], r"--net=tap:nothere: there is no such interface \(ip tuntap add dev nothere .*\)")
        refused(runner, ["--net=tap:br0"], r"--net=tap:br0: no tap interface \(.*\)")
        refused(nobody, ["--net=tap:rootonly"], r"--net=tap:rootonly: not yours \(.*\)")
        refused(nobody, ["--tunnet=192.168.9.1"], r"--tunnet=192.168.9.1: (creating a tap interface|/dev/net/tun): .*\(.*--net=user.*\)")
        refused(runner, ["--tunnet=192.168.7.1"], r"--tunnet=192.168.7.1: address already in use by interface br0 \(.*\)")
        refused(runner, ["--tunnet=bridge:br9"], r"--tunnet=bridge:br9: there is no such interface \(.*\)")
        refused(runner, ["--tunnet=bridge:lo"], r"--tunnet=bridge:lo: lo is no bridge \(.*\)")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            refused(runner, [f"--net=user,hostfwd=tcp:127.0.0.1:{port}-:80"], rf"--net=user: hostfwd tcp 127.0.0.1 port {port}: .*\(another program .*\)")
        refused(runner, ["--net=user,hostfwd=tcp:192.0.2.1:8080-:80"], r"--net=user: hostfwd tcp 192.0.2.1 port 8080: .*\(no address of this host.*\)")
        with runner.boot(options=["--tunnet=bridge:br0"], append=["lguest.run=true"]) as guest:
            guest.check_end(EXIT_POWER_OFF)
            need_equal(guest.errors, b"", "standard error")
