# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian packages -> a directory tree.

`apt-get download` fetches, `dpkg-deb -x` unpacks; no package is installed and
no maintainer script runs, so what a script would have made (the dynamic
linker's cache, alternatives such as `gcc`) is either not needed or a symlink
made here. The package sets are spelled out rather than resolved: a tree then
holds what is written here and nothing else (stress-ng would drag in all of
Mesa), and check_needed() tells at once when a list has become wrong.
"""
import os
import re
import shutil
import subprocess

BASE = ["busybox-static", "libc6", "libgcc-s1", "libstdc++6", "zlib1g", "dash"]

PROGRAMS = [
	"python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "libexpat1",
	"libffi8", "perl-base", "libcrypt1", "libuuid1",
	"sqlite3", "libsqlite3-0", "libreadline8", "libtinfo6",
	"openssl", "libssl3",
	"gzip", "bzip2", "libbz2-1.0", "xz-utils", "liblzma5", "zstd", "libzstd1", "liblz4-1",
]

COMPILERS = [
	"tcc", "gcc-12", "cpp-12", "libgcc-12-dev", "libc6-dev", "linux-libc-dev",
	"binutils-x86-64-linux-gnu", "libbinutils", "libctf0", "libctf-nobfd0", "libjansson4",
	"libisl23", "libmpc3", "libmpfr6", "libgmp10",
]

STRESS = [
	"stress-ng", "libapparmor1", "libbsd0", "libmd0", "libegl1", "libglvnd0", "libgbm1", "libdrm2",
	"libwayland-server0", "libxcb-randr0", "libxcb1", "libxau6", "libxdmcp6", "libgles2",
	"libipsec-mb1", "libjpeg62-turbo", "libjudydebian1", "libkmod2", "libsctp1", "libxxhash0",
]

# nodejs is fetched in the version of its library: a third party's package of the same name has no such library.
NODE = [
	"nodejs=libnode108", "libnode108", "libuv1", "libc-ares2", "libnghttp2-14", "libbrotli1", "libicu72",
	"node-acorn", "node-cjs-module-lexer", "node-undici",
]

# Big and never run: link-time optimization, sanitizers, coverage, manuals.
PRUNE = [
	"usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian",
	"usr/share/bug", "usr/share/doc-base", "usr/share/gdb", "usr/share/bash-completion",
	"usr/lib/gcc/x86_64-linux-gnu/12/lto1", "usr/lib/gcc/x86_64-linux-gnu/12/lto-wrapper",
	"usr/lib/gcc/x86_64-linux-gnu/12/libasan.a", "usr/lib/gcc/x86_64-linux-gnu/12/libtsan.a",
	"usr/lib/gcc/x86_64-linux-gnu/12/libubsan.a", "usr/lib/gcc/x86_64-linux-gnu/12/liblsan.a",
	"usr/lib/gcc/x86_64-linux-gnu/12/libhwasan.a", "usr/lib/gcc/x86_64-linux-gnu/12/plugin",
	"usr/bin/x86_64-linux-gnu-lto-dump-12", "usr/bin/x86_64-linux-gnu-dwp",
	"usr/bin/x86_64-linux-gnu-ld.gold", "usr/bin/x86_64-linux-gnu-gcov-12",
	"usr/bin/x86_64-linux-gnu-gp-display-text", "usr/bin/x86_64-linux-gnu-gp-collect-app",
	"usr/bin/x86_64-linux-gnu-gp-display-html", "usr/bin/x86_64-linux-gnu-gp-display-src",
	"usr/lib/gprofng", "usr/share/perl5",
	"usr/bin/x86_64-linux-gnu-gcov-tool-12", "usr/bin/x86_64-linux-gnu-gcov-dump-12",
	"usr/bin/x86_64-linux-gnu-gprofng", "usr/bin/x86_64-linux-gnu-gp-archive",
	"usr/lib/x86_64-linux-gnu/gprofng", "usr/lib/x86_64-linux-gnu/gconv",
	"usr/lib/python3.11/lib2to3", "usr/lib/python3.11/pydoc_data", "usr/lib/python3.11/ensurepip",
]

# What update-alternatives or an unversioned package would have provided.
LINKS = {
	"usr/bin/gcc": "x86_64-linux-gnu-gcc-12",
	"usr/bin/as": "x86_64-linux-gnu-as",
	"usr/bin/ld": "x86_64-linux-gnu-ld.bfd",
	"usr/bin/ar": "x86_64-linux-gnu-ar",
	"usr/bin/python3": "python3.11",
}


class PackageError(Exception):
	pass


def candidate(name):
	"""The version that apt would install."""
	policy = subprocess.run(["apt-cache", "policy", name], stdout=subprocess.PIPE, check=True, text=True).stdout
	found = re.search(r"Candidate: (\S+)", policy)
	if not found:
		raise PackageError("%s: apt knows no such package" % name)
	return found.group(1)


def fetch(names, cache):
	"""Makes sure that cache/ holds one .deb of each name; returns their paths. "name=other": in the version of other."""
	os.makedirs(cache, exist_ok=True)
	other = dict(name.split("=") for name in names if "=" in name)
	names = [name.split("=")[0] for name in names]

	def have():
		found = {}
		for entry in sorted(os.listdir(cache)):
			if entry.endswith(".deb"):
				found[entry.split("_")[0]] = os.path.join(cache, entry)
		return found

	missing = [name for name in names if name not in have()]
	if missing:
		# "_apt" may not write here: without this apt warns about it
		def download():
			exact = ["%s=%s" % (name, candidate(other[name])) if name in other else name for name in missing]
			return subprocess.run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download"] + exact, cwd=cache,
					      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

		done = download()
		if done.returncode:
			# lists older than the mirror, or none yet
			update = ([] if os.geteuid() == 0 else ["sudo", "-n"]) + ["apt-get", "-q", "update"]
			subprocess.run(update, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
			done = download()
		if done.returncode:
			raise PackageError("apt-get download failed:\n" + done.stdout)
	found = have()
	return [found[name] for name in names]


def unpack(debs, tree):
	"""Unpacks into a fresh tree/ and removes what PRUNE names."""
	shutil.rmtree(tree, ignore_errors=True)
	# Debian 12 packages carry files in both /lib and /usr/lib: merged
	for name in ("bin", "sbin", "lib", "lib32", "lib64"):
		os.makedirs(os.path.join(tree, "usr", name))
		os.symlink("usr/" + name, os.path.join(tree, name))
	for deb in debs:
		# tar follows the symlinks only with this option, which
		# dpkg-deb -x does not have
		tar = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
		subprocess.run(["tar", "-x", "--keep-directory-symlink", "--no-same-owner",
				"--no-same-permissions", "-C", tree], stdin=tar.stdout, check=True)
		if tar.wait():
			raise PackageError("%s: broken package (remove it)" % deb)
	for name in PRUNE:
		path = os.path.join(tree, name)
		if os.path.isdir(path) and not os.path.islink(path):
			shutil.rmtree(path)
		elif os.path.lexists(path):
			os.unlink(path)
	for name, target in LINKS.items():
		path = os.path.join(tree, name)
		if os.path.exists(os.path.join(os.path.dirname(path), target)) and not os.path.lexists(path):
			os.symlink(target, path)
	check_needed(tree)


def check_needed(tree):
	"""Every shared library that a program in tree/ asks for must be in tree/."""
	programs = []
	libraries = set()
	for top, _, files in os.walk(os.path.join(tree, "usr")):
		for name in files:
			if ".so" in name:
				libraries.add(name)
		if os.path.basename(top) in ("bin", "sbin", "12"):
			programs += [os.path.join(top, name) for name in files
				     if not os.path.islink(os.path.join(top, name))]
	for path in programs + [os.path.join(tree, "usr/lib/x86_64-linux-gnu", name)
				for name in sorted(libraries)]:
		if not os.path.isfile(path):
			continue
		with open(path, "rb") as file:
			if file.read(4) != b"\x7fELF":
				continue
		dynamic = subprocess.run(["readelf", "-d", path], stdout=subprocess.PIPE,
					 stderr=subprocess.DEVNULL, text=True).stdout
		for name in re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic):
			if name not in libraries and path in programs:
				raise PackageError("%s needs %s: add its package to packages.py"
						   % (os.path.relpath(path, tree), name))


def busybox_links(tree):
	"""A link for each applet of busybox that no package in tree/ provides."""
	busybox = os.path.join(tree, "usr/bin/busybox")
	applets = subprocess.run([busybox, "--list"], stdout=subprocess.PIPE, check=True, text=True).stdout.split()
	for name in applets:
		if not any(os.path.lexists(os.path.join(tree, place, name)) for place in ("usr/bin", "usr/sbin")):
			os.symlink("busybox", os.path.join(tree, "usr/bin", name))
