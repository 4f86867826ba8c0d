# SPDX-License-Identifier: GPL-2.0-or-later
# Public keys: generated here, so random, and so only checked against themselves.
echo "to be signed" >text
ok() {
	if "$@" >log 2>&1; then echo "ok: $1 $2"; else echo "FAILED: $*"; cat log; fi
}
ok openssl genrsa -out rsa.pem 2048
ok openssl rsa -in rsa.pem -check -noout
ok openssl dgst -sha256 -sign rsa.pem -out signature text
openssl rsa -in rsa.pem -pubout -out public.pem 2>log
openssl dgst -sha256 -verify public.pem -signature signature text
echo changed >other
openssl dgst -sha256 -verify public.pem -signature signature other 2>log
for curve in prime256v1 secp384r1 secp521r1; do
	ok openssl ecparam -name $curve -genkey -noout -out ec.pem
	openssl ec -in ec.pem -pubout -out public.pem 2>log
	openssl dgst -sha512 -sign ec.pem -out signature text
	openssl dgst -sha512 -verify public.pem -signature signature text
done
for kind in x25519 ed25519 x448 ed448; do
	ok openssl genpkey -algorithm $kind -out $kind.pem
	openssl pkey -in $kind.pem -pubout -out $kind.pub
done
openssl pkeyutl -sign -rawin -inkey ed25519.pem -in text -out signature
openssl pkeyutl -verify -rawin -pubin -inkey ed25519.pub -in text -sigfile signature
openssl genpkey -algorithm x25519 -out second.pem
openssl pkey -in second.pem -pubout -out second.pub
openssl pkeyutl -derive -inkey x25519.pem -peerkey second.pub -out one
openssl pkeyutl -derive -inkey second.pem -peerkey x25519.pub -out two
cmp one two && echo "same secret"
# fixed input: the same on every machine
openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt pass:secret -kdfopt salt:salt -kdfopt iter:3000 PBKDF2
openssl kdf -keylen 32 -kdfopt pass:secret -kdfopt salt:salt -kdfopt n:1024 -kdfopt r:8 -kdfopt p:2 SCRYPT
openssl prime 170141183460469231731687303715884105727 170141183460469231731687303715884105729
openssl speed -seconds 1 -bytes 1024 sha256 aes-128-cbc >log 2>&1 && echo "speed ran"
