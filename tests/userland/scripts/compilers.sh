# SPDX-License-Identifier: GPL-2.0-or-later
# Each compiler makes the same objects as natively, and programs that agree.
try() {
	name="$*"
	rm -f program
	if "$@" -o program /kit/scripts/program.c -lm; then
		./program >result
		echo "$name: exit $? $(md5sum <result | cut -c 1-32)"
	else
		echo "$name: failed"
	fi
}
try gcc -O0
cat result
try tcc
if [ "$1" = full ]; then
	try gcc -O1
	try gcc -O2 -static
	try gcc -O3 -mavx2 -ffp-contract=off
	try gcc -Os -m64 -fPIE -pie
	try gcc -O2 -mfpmath=387 -ffloat-store
	tcc -run /kit/scripts/program.c
	for level in 0 1 2 3 s; do
		for file in arch smc signals process; do
			gcc -D_GNU_SOURCE -w -O$level -mno-red-zone -S -o - /kit/src/$file.c | md5sum
		done
	done
fi
gcc -O2 -S -o - /kit/scripts/program.c | md5sum
gcc -O2 -c -o program.o /kit/scripts/program.c && md5sum <program.o
