#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# All the tests, from nothing: installs what they need, builds with -Werror,
# checks the format, runs the unit tests, the same under ASan and UBSan, and
# boots Debian's kernels. Each part is run even when one before it has failed.
# Ends with "N passed, N failed" over all of them and the status that fits.
#
#	scripts/test.sh			everything
#	scripts/test.sh format unit	only these parts: format unit valgrind sanitize fuzz system userland
#
. "$(dirname "$0")/lib.sh"

parts="${*:-format unit valgrind sanitize fuzz system userland}"
jobs=$(nproc)
passed=0
failed=0
summary=()

# report NAME PASSED FAILED
report()
{
	passed=$((passed + $2))
	failed=$((failed + $3))
	summary+=("$(printf '%-16s %4d passed, %d failed (at %d s)' "$1" "$2" "$3" "$SECONDS")")
	step "$1: $2 passed, $3 failed"
}

# build DIRECTORY OPTION...
build()
{
	local dir=$1

	shift
	step "building $dir ($*)"
	if ! [ -f "$dir/build.ninja" ]; then
		quietly meson setup "$dir" "$TOP" -Dwerror=true "$@" || return
	fi
	quietly ninja -j "$jobs" -C "$dir"
}

# meson_tests NAME DIRECTORY ARGUMENT...: what meson counts becomes ours
meson_tests()
{
	local name=$1 dir=$2 good bad

	shift 2
	step "$name: running the tests in $dir"
	meson test --no-rebuild -C "$dir" --print-errorlogs --timeout-multiplier 4 "$@" 2>&1 | tee "$dir/meson-test.log" || true
	good=$(sed -nE 's/^(Ok|Expected Fail): +([0-9]+).*/\2/p' "$dir/meson-test.log" | paste -sd+ | sed 's/^$/0/')
	bad=$(sed -nE 's/^(Fail|Unexpected Pass|Timeout): +([0-9]+).*/\2/p' "$dir/meson-test.log" | paste -sd+ | sed 's/^$/0/')
	# No count at all means that meson itself went wrong.
	grep -q '^Ok:' "$dir/meson-test.log" || bad=1
	report "$name" $((good)) $((bad))
}

# counted NAME COMMAND...: a program that ends with "N passed, N failed" or "N of N items identical"
counted()
{
	local name=$1 log good='' bad='' status=0

	shift
	log=$(mktemp)
	step "$name: $*"
	"$@" 2>&1 </dev/null | tee "$log" || status=$?
	while read -r line; do
		if [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
			good=${BASH_REMATCH[1]} bad=${BASH_REMATCH[2]}
		elif [[ $line =~ ^([0-9]+)\ of\ ([0-9]+)\ items ]]; then
			good=${BASH_REMATCH[1]} bad=$((BASH_REMATCH[2] - BASH_REMATCH[1]))
		fi
	done <"$log"
	rm -f "$log"
	# Without counts it did not get to its end.
	[ "$status" -eq 0 ] || [ "${bad:-0}" -gt 0 ] || bad=1
	report "$name" "${good:-0}" "${bad:-1}"
}

# fuzz NAME SCRIPT SECONDS ARGUMENT...: LGUEST_FUZZ_SECONDS is for each fuzzer; the default makes five minutes in all
fuzz()
{
	local name=$1

	shift
	step "fuzz-$name: $*"
	if quietly "$@"; then
		report "fuzz-$name" 1 0
	else
		report "fuzz-$name" 0 1
	fi
}

# One check of all files: C as clang-format 14 has it, shell without shellcheck's objections
check_format()
{
	local file bad=0

	step "format: clang-format and shellcheck"
	while read -r file; do
		clang-format-14 --dry-run --Werror "$file" 2>/dev/null && continue
		echo "$file: run clang-format-14 -i on it"
		bad=1
	done < <(find "$TOP/src" "$TOP/tests" "$TOP/bench" -name '*.[ch]' | sort)
	find "$TOP/scripts" "$TOP/tests/cli" "$TOP/.ci" -type f \( -name '*.sh' -o -name run \) -print0 |
		xargs -0 shellcheck -x -P SCRIPTDIR -S warning || bad=1
	report format $((1 - bad)) $bad
}

for part in $parts; do
	case $part in
	format | unit | valgrind | sanitize | fuzz | system | userland) ;;
	*) die "$part: no such part (format unit valgrind sanitize fuzz system userland)" ;;
	esac
done

"$TOP/scripts/setup.sh" build test

for part in $parts; do
	case $part in
	format) check_format ;;
	unit)
		build "$TOP/build-test" || { report build 0 1; continue; }
		meson_tests unit "$TOP/build-test"
		;;
	valgrind)
		build "$TOP/build-test" || { report valgrind 0 1; continue; }
		meson_tests valgrind "$TOP/build-test" --setup valgrind --suite valgrind
		;;
	sanitize)
		export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
		build "$TOP/build-sanitize" -Db_sanitize=address,undefined -Db_lundef=false ||
			{ report sanitize 0 1; continue; }
		meson_tests sanitize "$TOP/build-sanitize"
		counted sanitized-boots "$TOP/tests/system/run.py" --lguest "$TOP/build-sanitize/src/lguest" \
			--only shell-cloud612 --only reboot --only bad- --only killed --only escape --only devices-together --only rng \
			--only block-errors --only net-user-cloud612 --only net-errors --skip reboot-devices
		;;
	fuzz)
		fuzz loader "$TOP/tests/fuzz/loader.sh" "${LGUEST_FUZZ_SECONDS:-20}" "$TOP/build-fuzz"
		fuzz platform "$TOP/tests/platform/fuzz.sh" "${LGUEST_FUZZ_SECONDS:-20}"
		fuzz virtio "$TOP/tests/virtio/fuzz.sh" "${LGUEST_FUZZ_SECONDS:-45}"
		;;
	system)
		build "$TOP/build-test" || { report system 0 1; continue; }
		counted system "$TOP/tests/system/run.py" --lguest "$TOP/build-test/src/lguest" --soak "${LGUEST_SOAK:-6}"
		;;
	userland)
		build "$TOP/build-test" || { report userland 0 1; continue; }
		LGUEST=$TOP/build-test/src/lguest counted userland "$TOP/tests/userland/run"
		;;
	esac
done

echo
printf '%s\n' "${summary[@]}"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
