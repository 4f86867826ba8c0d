# SPDX-License-Identifier: GPL-2.0-or-later
# Arithmetic whose every bit is printed or hashed.
import cmath
import fractions
import hashlib
import math
import random
import struct

generator = random.Random(20240229)
digest = hashlib.sha256()


def put(*values):
    for value in values:
        digest.update(repr(value).encode() + b";")


for i in range(3000):
    a = generator.uniform(-1, 1) * 10.0 ** generator.randint(-300, 300)
    b = generator.uniform(-1, 1) * 10.0 ** generator.randint(-5, 5)
    put(a + b, a - b, a * b, a / b, math.fmod(a, b), math.floor(b), math.ceil(b), round(b, 3), int(a) % 997)
    put(math.sin(b), math.cos(b), math.tan(b), math.atan2(a, b), math.exp(b / 300), math.log(abs(b)), math.sqrt(abs(a)))
    put(math.frexp(a), math.ldexp(b, 50), math.hypot(a / 1e10, b), math.erf(b), math.gamma(abs(b) % 20 + 0.1))
    put(a.hex(), float("%.3e" % a), "%.17g" % b, struct.pack("<dfe", a, b % 1000, b % 100), a < b, abs(a) >= abs(b))
    put(cmath.sqrt(complex(b, a)), complex(b, 1) ** 2, int(b * 1e12), float(10 ** (i % 300)))
print("floats", digest.hexdigest())

for text in ("inf", "-inf", "nan", "5e-324", "1.7976931348623157e308", "2.2250738585072014e-308"):
    value = float(text)
    print(text, value * 2, value / 3, value - value, value == value, struct.pack(">d", abs(value)).hex())
print(sum([0.1] * 10), math.fsum([0.1] * 10), 0.1 + 0.2, 1e16 + 1, 2 ** 0.5, 1 / 3)
print(fractions.Fraction(math.pi).limit_denominator(10000), math.factorial(60), math.comb(100, 50))
