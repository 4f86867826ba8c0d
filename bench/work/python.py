# SPDX-License-Identifier: GPL-2.0-or-later
# What scripts do: dictionaries, strings, objects, floats, big integers.
import sys


class Node:
    __slots__ = ("left", "right", "key")

    def __init__(self, key):
        self.left = self.right = None
        self.key = key

    def insert(self, key):
        node = self
        while True:
            side = "left" if key < node.key else "right"
            below = getattr(node, side)
            if below is None:
                setattr(node, side, Node(key))
                return
            node = below


def walk(node):
    if node is not None:
        yield from walk(node.left)
        yield node.key
        yield from walk(node.right)


scale = int(sys.argv[1])
state = 12345
words = {}
root = Node(1 << 15)
for i in range(scale * 200):
    state = (state * 1103515245 + 12345) & 0x7fffffff
    word = "w%x" % (state >> 18)
    words[word] = words.get(word, 0) + 1
    if i % 8 == 0:
        root.insert(state >> 15)
print(len(words), sum(words.values()), sorted(words.items(), key=lambda item: (-item[1], item[0]))[:3])
print(sum(key * (i + 1) for i, key in enumerate(walk(root))))

x, total = 0.3, 0.0
for i in range(scale * 400):
    x = 3.7 * x * (1.0 - x)
    total += x * x / (i + 1)
print(repr(total))

a, b = 0, 1
for i in range(scale * 10):
    a, b = b, a + b
print(hash(a), len(str(a % 10 ** 200)))

text = " ".join("%d:%s" % (i, chr(97 + i % 26) * (i % 7)) for i in range(scale * 40))
print(len(text), text.count("a"), len(set(text.split())), text.replace("b", "xx").upper()[-20:])
