# SPDX-License-Identifier: GPL-2.0-or-later
"""A directory tree -> a cpio archive ("newc") that a kernel unpacks as its initramfs.

Written here rather than by cpio(1) because the archive must hold device nodes
(/dev/console, or /init has no standard output) and belong to root, both of
which an ordinary user could not have in a real directory, and because it
must be the same bytes for the same tree: order, owner and times are fixed.
The archive stays uncompressed: unpacking is not what is measured.
"""
import os
import stat

NODES = [  # path, mode, major, minor
	("dev/console", stat.S_IFCHR | 0o600, 5, 1),
	("dev/null", stat.S_IFCHR | 0o666, 1, 3),
	("dev/ttyS0", stat.S_IFCHR | 0o600, 4, 64),
]
DIRECTORIES = ["dev", "proc", "sys", "tmp", "run", "root", "etc"]
TIME = 1700000000


class Archive:
	def __init__(self, path):
		self.file = open(path, "wb")
		self.inode = 0

	def entry(self, name, mode, data=b"", rdev=(0, 0)):
		self.inode += 1
		encoded = name.encode() + b"\0"
		fields = (self.inode, mode, 0, 0, 1, TIME, len(data), 0, 0, rdev[0], rdev[1], len(encoded), 0)
		header = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
		self.file.write(header + b"\0" * (-len(header) % 4) + data + b"\0" * (-len(data) % 4))

	def close(self):
		self.inode = -1
		self.entry("TRAILER!!!", 0)
		self.file.close()


def make_directories(tree):
	"""Mount points and the like, for the archive and for a native chroot alike."""
	for name in DIRECTORIES:
		os.makedirs(os.path.join(tree, name), exist_ok=True)


def write(tree, path):
	"""Writes all of tree/ to the archive path, in a fixed order."""
	archive = Archive(path + ".new")
	for top, directories, files in os.walk(tree):
		directories.sort()
		relative = os.path.relpath(top, tree)
		for name in sorted(directories + files):
			source = os.path.join(top, name)
			target = name if relative == "." else relative + "/" + name
			mode = os.lstat(source).st_mode
			if stat.S_ISLNK(mode):
				archive.entry(target, mode, os.readlink(source).encode())
			elif stat.S_ISDIR(mode):
				archive.entry(target, mode)
			elif stat.S_ISREG(mode):
				with open(source, "rb") as file:
					archive.entry(target, mode, file.read())
		# os.walk does not enter links to directories: right, /bin is one
	for name, mode, major, minor in NODES:
		archive.entry(name, mode, rdev=(major, minor))
	archive.close()
	os.replace(path + ".new", path)
