#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Fuzzes the platform: tests/platform/fuzz.sh [seconds] [work dir]
#
# Needs clang with libFuzzer (Debian: clang, libclang-rt-dev) and iasl. Builds
# fuzz_pc.c with ASan and UBSan and runs it. The corpus stays in the work
# directory (default build-fuzz/platform); an input that fails is left there
# as crash-*, and the exit status is not 0.
set -eu
seconds=${1:-60}
top=$(cd "$(dirname "$0")/../.." && pwd)
work=${2:-$top/build-fuzz/platform}

mkdir -p "$work/corpus/platform" "$work/platform"
cd "$work"
"$top/src/platform/asl2c.sh" iasl "$top/src/platform/dsdt.asl" platform/dsdt_aml.h
clang -std=gnu17 -D_GNU_SOURCE -DLIBFUZZER -O1 -g -fno-strict-aliasing -fno-omit-frame-pointer \
	-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -I"$top/src" -I"$top/tests" -I"$work" \
	"$top/tests/platform/fuzz_pc.c" "$top/tests/fuzz/input.c" "$top/tests/fuzz/pc.c" "$top"/src/platform/*.c "$top"/src/virtio/pci.c \
	"$top"/src/virtio/device.c "$top"/src/virtio/queue.c "$top"/src/virtio/rng.c "$top/src/memory.c" -o fuzz-platform
./fuzz-platform -max_total_time="$seconds" -max_len=3600 -timeout=10 -print_final_stats=1 corpus/platform
