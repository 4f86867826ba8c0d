# SPDX-License-Identifier: GPL-2.0-or-later
# What shell scripts do all day: pipes, small programs, text.
mkdir -p tree && tar -xf /kit/corpus -C tree
find tree -type f | sort | xargs cat | md5sum
find tree -type f | wc -l
tar -cf - -C tree lib/python3.11/json lib/python3.11/email | tar -tf - | sort | md5sum
cd tree/lib/python3.11
cat *.py | tr -cs 'A-Za-z' '\n' | sort | uniq -c | sort -rn | head -n 15
grep -rh '^def [a-z_]*(' json email | sed 's/^def \([a-z_]*\)(.*/\1/' | sort | head -n 20 | tr '\n' ' '
awk '{ for (i = 1; i <= NF; i++) { count[length($i)]++; sum += length($i) * 0.5 } } END { for (n in count) print n, count[n]; print sum }' abc.py ast.py argparse.py | sort -n | md5sum
awk 'BEGIN { x = 1; for (i = 1; i < 3000; i++) { x = (x * 16807) % 2147483647; s += sin(x) / i; t = t substr("abcdef", x % 6 + 1, 1) } printf "%.12f %s\n", s, substr(t, 100, 50); gsub(/a[bc]+/, "<&>", t); print length(t) }'
diff -u abc.py ast.py | md5sum
head -c 100000 argparse.py | od -An -tx1 | md5sum
seq 1 2000 | awk '{ print $1 * $1 % 1009 }' | sort -n | uniq | wc -l
i=0
while [ $i -lt 60 ]; do
	i=$((i + 1))
	echo "$i: $(echo $i | busybox sed 's/./<&>/g') $(expr $i \* $i) $(printf %x $((i * 4711)))"
done | md5sum
(trap 'echo trapped' TERM; kill -TERM $(sh -c 'echo $PPID'); echo after)
sleep 0.1 & wait $! && echo waited
sh -c 'kill -9 $$'; echo "status $?"
dd if=/dev/zero bs=1000 count=300 2>/dev/null | cksum
cp argparse.py /tmp/copy && cmp argparse.py /tmp/copy && echo same
echo '2 k 355 113 / p 2 100 ^ p' | busybox dc
for f in md5sum sha1sum sha256sum sha512sum sha3sum cksum; do busybox $f argparse.py; done
