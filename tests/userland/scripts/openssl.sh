# SPDX-License-Identifier: GPL-2.0-or-later
# Known answers (FIPS 180, 197, 202, RFC 7539 and others), then the same work with
# each set of special instructions masked out: all must agree.
check() {
	if [ "$2" = "$3" ]; then echo "$1 ok"; else echo "$1 WRONG: $2 instead of $3"; fi
}
hash() {
	printf %s "$2" | openssl dgst -$1 -r | cut -d ' ' -f 1
}
block() { # cipher key iv plain-hex
	printf "$4" | openssl enc -$1 -K $2 ${3:+-iv $3} -nopad | od -An -tx1 | tr -d ' \n'
}
check md5 $(hash md5 abc) 900150983cd24fb0d6963f7d28e17f72
check sha1 $(hash sha1 abc) a9993e364706816aba3e25717850c26c9cd0d89d
check sha224 $(hash sha224 abc) 23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7
check sha256 $(hash sha256 abc) ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
check sha512 $(hash sha512 abc | cut -c 1-40) ddaf35a193617abacc417349ae20413112e6fa4e
check sha3-256 $(hash sha3-256 abc) 3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532
head -c 200003 /kit/corpus >input
plain='\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff'
key=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
for mask in default '~0x200000200000000:~0x60000000000' ':~0x20000000' ':~0x20000020' '~0x1000000000000000:~0x20000020' '~0x1200020200000000:~0x0'; do
	[ $mask = default ] || export OPENSSL_ia32cap=$mask
	echo "mask $mask"
	check aes-128 $(block aes-128-ecb ${key%????????????????????????????????} '' $plain) 69c4e0d86a7b0430d8cdb78070b4c55a
	check aes-192 $(block aes-192-ecb ${key%????????????????} '' $plain) dda97ca4864cdfe06eaf70a0ec0d7191
	check aes-256 $(block aes-256-ecb $key '' $plain) 8ea2b7ca516745bfeafc49904b496089
	for digest in sha1 sha256 sha512 sha3-512 blake2b512 md5 ripemd160 sm3; do
		openssl dgst -$digest -r input
		head -c 100003 input | openssl dgst -$digest -hmac secret -r
	done
	for cipher in aes-128-cbc aes-256-ctr aes-128-ofb aes-192-cfb aes-256-xts camellia-256-cbc chacha20 des-ede3-cbc aria-128-ctr sm4-cbc; do
		case $cipher in
		*xts) k=$key$(echo $key | rev) ;;
		*128*|sm4*) k=${key%????????????????????????????????} ;;
		*192*|des*) k=${key%????????????????} ;;
		*) k=$key ;;
		esac
		openssl enc -$cipher -K $k -iv 0f0e0d0c0b0a09080706050403020100 -in input -out /tmp/coded 2>/tmp/error || echo "failed: $(cat /tmp/error)"
		openssl dgst -md5 -r /tmp/coded
		openssl enc -d -$cipher -K $k -iv 0f0e0d0c0b0a09080706050403020100 -in /tmp/coded 2>/tmp/error | cmp - input && echo "$cipher back"
	done
done
