# SPDX-License-Identifier: GPL-2.0-or-later
# Big integers, regular expressions, JSON, hashes, structures, sorting, modules in C.
import bz2
import collections
import decimal
import hashlib
import io
import itertools
import json
import lzma
import re
import sqlite3
import struct
import zlib

digest = hashlib.sha256()
for algorithm in sorted(hashlib.algorithms_guaranteed):
    if not algorithm.startswith("shake"):
        print(algorithm, hashlib.new(algorithm, b"lguest" * 100).hexdigest())

a, b = 3 ** 700, 7 ** 500 + 11
print((a * b) % (2 ** 127 - 1), (a // b).bit_length(), pow(3, a, 10 ** 40 + 7), hash(a), a ^ b > a & b, str(a * a)[-30:])
number, primes = 2, []
while len(primes) < 400:
    if all(number % p for p in itertools.takewhile(lambda p: p * p <= number, primes)):
        primes.append(number)
    number += 1
print(primes[-1], sum(primes))

decimal.getcontext().prec = 60
print(decimal.Decimal(2).sqrt(), decimal.Decimal(1).exp(), decimal.Decimal(355) / 113)

text = " ".join("%s%d=%x;" % ("abcdefghij"[i % 10] * (i % 4 + 1), i, i * i * 7919) for i in range(4000))
found = re.findall(r"(\w+?)(\d+)=([0-9a-f]*(?:ff|00)[0-9a-f]*);", text)
print(len(found), found[:3], re.sub(r"(?<=b)\d{2,}(?==)", "#", text)[:60], len(re.split(r"[;=\s]+", text)))

data = {"list": [i ** 2 / 7 for i in range(200)], "text": "\u00e9\u4e2d\U0001f600\"\\\n", "deep": [[[{"a": None}]]], "flag": True}
encoded = json.dumps(data, sort_keys=True)
print(hashlib.md5(encoded.encode()).hexdigest(), json.loads(encoded) == data, data["text"].encode("utf-16-le").hex())

raw = struct.pack("<bBhHiIqQfd5s?", -1, 255, -300, 65535, -70000, 4000000000, -2 ** 60, 2 ** 63, 1.5, -2.25, b"hello", True)
print(raw.hex(), struct.unpack(">3H", raw[:6]))

blob = (text.encode() * 8)[:400000]
for name, module, packed in (("zlib", zlib, zlib.compress(blob, 9)), ("bz2", bz2, bz2.compress(blob)), ("lzma", lzma, lzma.compress(blob))):
    print(name, len(packed), hashlib.sha1(packed).hexdigest(), module.decompress(packed) == blob)
print(zlib.crc32(blob), zlib.adler32(blob))

words = collections.Counter(re.findall("[a-z]+", text))
print(words.most_common(3), sorted(words, key=lambda w: (len(w), w))[:5], len(list(itertools.permutations(range(7)))))
ordered = sorted((zlib.crc32(str(i).encode()), i) for i in range(20000))
print(ordered[0], ordered[-1], hashlib.sha1(repr(ordered).encode()).hexdigest())

database = sqlite3.connect(":memory:")
database.execute("create table t (a integer primary key, b text, c real)")
database.executemany("insert into t values (?, ?, ?)", ((i, "x" * (i % 9), i / 3) for i in range(5000)))
print(database.execute("select b, count(*), sum(c) from t group by b order by b").fetchall()[-1])


def fibonacci(limit):
    x, y = 0, 1
    while x < limit:
        yield x
        x, y = y, x + y


print(list(fibonacci(10 ** 6))[-1], sum(fibonacci(10 ** 50)))
stream = io.StringIO()
for row in range(50):
    print(*("%*d" % (4, row * column % 1000) for column in range(12)), file=stream)
print(hashlib.md5(stream.getvalue().encode()).hexdigest())
try:
    [].pop()
except IndexError as error:
    print("raised", error)
