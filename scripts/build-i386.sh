#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Builds the static 32-bit program for hosts with /dev/lguest, linked with
# musl: Debian's glibc wants Linux 2.6.39, musl is content with 2.6.31. Needs
# gcc-multilib. Debian has a 32-bit musl only as a package of its i386
# architecture; it is unpacked below out/, and the system need not know that
# architecture.
#
#	scripts/build-i386.sh [BUILD_DIR]	(build-i386: src/lguest in it)
. "$(dirname "$0")/lib.sh"

build=${1:-$TOP/build-i386}
lists=$OUT/apt-i386
tools=$OUT/musl-i386
apt=(-q -o APT::Architecture=i386 -o APT::Architectures=i386 -o Acquire::Languages=none
	-o Dir::State::lists="$lists/lists" -o Dir::Cache="$lists/cache" -o APT::Sandbox::User="$(id -un)")

if [ ! -e "$tools/cc" ]; then
	step "fetching musl"
	mkdir -p "$lists/lists/partial" "$lists/cache/archives/partial" "$tools"
	cd "$tools"
	apt-get "${apt[@]}" download musl-dev >/dev/null 2>&1 || {
		quietly apt-get "${apt[@]}" update
		quietly apt-get "${apt[@]}" download musl-dev
	}
	for package in ./*.deb; do
		dpkg-deb --fsys-tarfile "$package" | tar -x --no-same-owner
		rm "$package"
	done
	# The kernel's headers, without glibc's around them.
	mkdir -p kernel
	for dir in linux asm-generic video; do
		ln -sfn "/usr/include/$dir" "kernel/$dir"
	done
	ln -sfn "/usr/include/$(gcc -print-multiarch)/asm" kernel/asm
	cat >cc <<EOF
#!/bin/bash
# gcc for 32-bit programs with musl, static
gcc=\$(dirname "\$(gcc -m32 -print-libgcc-file-name)")
musl=$tools/usr/lib/i386-linux-musl
flags=(-m32 -fno-stack-protector -fno-pie -nostdinc -isystem $tools/usr/include/i386-linux-musl
	-isystem "\$(gcc -print-file-name=include)" -isystem $tools/kernel)
for arg; do
	case \$arg in
	-c | -S | -E | -M | -MM | --version | -print* | -dump*) exec gcc "\${flags[@]}" "\$@" ;;
	esac
done
exec gcc "\${flags[@]}" -no-pie -nostdlib -static "\$musl"/crt1.o "\$musl"/crti.o "\$gcc"/crtbegin.o "\$@" \\
	-L"\$musl" -Wl,--start-group -lc -lgcc -lgcc_eh -Wl,--end-group "\$gcc"/crtend.o "\$musl"/crtn.o
EOF
	chmod +x cc
	cat >cross <<EOF
[binaries]
c = '$tools/cc'
ar = 'ar'
strip = 'strip'

[built-in options]
c_args = ['-march=i686', '-msse2', '-D_FILE_OFFSET_BITS=64']
b_pie = false

[host_machine]
system = 'linux'
cpu_family = 'x86'
cpu = 'i686'
endian = 'little'
EOF
fi
cd "$TOP"
step "building"
[ -e "$build/build.ninja" ] || quietly meson setup "$build" --cross-file "$tools/cross" -Dlibraries=false
quietly ninja -C "$build"
ls -l "$build/src/lguest"
