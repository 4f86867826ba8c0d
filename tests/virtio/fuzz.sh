#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Fuzzes queues, devices, the PCI transport, the lguest bus and the lguest platform:
#
#	tests/virtio/fuzz.sh [SECONDS [WORK DIR [NAME...]]]
#
# Needs clang with libFuzzer (Debian: clang, libclang-rt-dev), iasl, and what
# lguest itself is built with. Builds fuzz_NAME.c (here or in ../platform) with ASan and UBSan and
# runs each for SECONDS (default 60), two at a time. The corpus stays in the
# work directory (default build-fuzz/virtio) and grows over runs; an input that
# fails is left there as NAME-crash-*, and the exit status is not 0.
#
# The soak: tests/virtio/fuzz.sh 3600
set -eu
seconds=${1:-60}
top=$(cd "$(dirname "$0")/../.." && pwd)
work=${2:-$top/build-fuzz/virtio}
shift $(($# > 2 ? 2 : $#))
names=("$@")
[ ${#names[@]} -gt 0 ] || names=(queue rng console block net pci lguestbus lguest)

mkdir -p "$work/obj/platform"
cd "$work"
"$top/src/platform/asl2c.sh" iasl "$top/src/platform/dsdt.asl" obj/platform/dsdt_aml.h

read -ra host_flags < <(pkg-config --cflags liburing slirp libnbd)
read -ra host_libs < <(pkg-config --libs liburing slirp libnbd)
flags=(-std=gnu17 -D_GNU_SOURCE -DLIBFUZZER -O1 -g -fno-strict-aliasing -fno-omit-frame-pointer
	-fno-sanitize-recover=all "-I$top/src" "-I$top/tests" -Iobj "${host_flags[@]}")

# Everything that a device may need, as a library, so that a target takes what it does need.
rm -f obj/*.o obj/all.a
# (without_libraries.c stands in for three of them in builds without libraries.)
# shellcheck disable=SC2016 # the inner shell is who expands these
printf '%s\0' "$top"/src/{virtio,host,platform,platform/lguest}/*.c "$top/src/memory.c" "$top"/tests/virtio/{fuzz,driver}.c "$top"/tests/fuzz/{input,ram,pc}.c |
	grep -zv '/without_libraries\.c$' |
	xargs -0 -P "$(nproc)" -I{} sh -c 'source=$1; shift
		exec clang "$@" -fsanitize=fuzzer-no-link,address,undefined -c "$source" \
			-o "obj/$(basename "$(dirname "$source")")-$(basename "$source" .c).o"' sh {} "${flags[@]}"
ar rcs obj/all.a obj/*.o

# run NAME
run()
{
	local name=$1 status=0 source

	for source in "$top"/tests/{virtio,platform}/fuzz_"$name".c; do
		[ ! -f "$source" ] || break
	done

	mkdir -p "corpus/$name"
	clang "${flags[@]}" -fsanitize=fuzzer,address,undefined "$source" obj/all.a -pthread "${host_libs[@]}" -o "fuzz-$name" 2>"$name.log" || status=$?
	# Long inputs at once: the interesting things happen behind several others.
	[ "$status" -ne 0 ] || "./fuzz-$name" -max_total_time="$seconds" -max_len=1500 -len_control=0 -timeout=20 \
		-rss_limit_mb=3000 -artifact_prefix="$name-" -print_final_stats=1 "corpus/$name" >"$name.log" 2>&1 || status=$?
	if [ "$status" -ne 0 ]; then
		echo "fuzz_$name: failed ($work/$name.log)"
		tail -n 60 "$name.log"
		return 1
	fi
	echo "fuzz_$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$name.log") inputs, nothing found"
}

bad=0
for ((i = 0; i < ${#names[@]}; i += 2)); do
	pids=()
	for name in "${names[@]:i:2}"; do
		run "$name" &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do
		wait "$pid" || bad=1
	done
done
exit $bad
