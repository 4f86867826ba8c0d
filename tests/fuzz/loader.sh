#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Fuzzes the kernel loader: tests/fuzz/loader.sh [seconds per harness] [work dir]
#
# Needs clang with libFuzzer (Debian: clang, libclang-rt-dev). Builds loader.c
# and loader_payload.c with ASan and UBSan, makes seeds, runs both harnesses.
# The corpus stays in the work directory (default build-fuzz/loader) and grows
# over runs; an input that fails is left there as crash-*, and the exit status is not 0.
# "ninja -C build fuzz-loader" does the same for a minute each.
set -eu
seconds=${1:-60}
top=$(cd "$(dirname "$0")/../.." && pwd)
work=${2:-$top/build-fuzz/loader}
flags="-std=gnu17 -D_GNU_SOURCE -O1 -g -fno-strict-aliasing -fno-omit-frame-pointer -Wall -Wextra
  -fsanitize=address,undefined -fno-sanitize-recover=all -I$top/src -I$top/tests"
libs="-llzma -lzstd -llz4 -lz"
# codecs_none.c stands in for codecs.c in builds without libraries.
sources="$top/src/memory.c $(find "$top/src/boot" -name "*.c" ! -name codecs_none.c)"

mkdir -p "$work/corpus/loader" "$work/corpus/payload" "$work/seeds/loader" "$work/seeds/payload"
cd "$work"
# Word splitting of $flags, $sources and $libs is meant.
clang $flags -fsanitize=fuzzer "$top/tests/fuzz/loader.c" $sources $libs -o fuzz-loader
clang $flags -fsanitize=fuzzer "$top/tests/fuzz/loader_payload.c" $sources $libs -o fuzz-payload
clang $flags "$top/tests/fuzz/loader_seeds.c" "$top/tests/boot/image.c" $libs -o seeds-loader
./seeds-loader "$work/seeds"

# The settings, the headers and the notes are in the first bytes; longer inputs only cost time.
./fuzz-loader -max_total_time="$seconds" -max_len=16384 -timeout=10 -print_final_stats=1 corpus/loader seeds/loader
./fuzz-payload -max_total_time="$seconds" -max_len=16384 -timeout=10 -print_final_stats=1 corpus/payload seeds/payload
