# SPDX-License-Identifier: GPL-2.0-or-later
# A shell without any other process: arithmetic, case, string cutting, functions.
add() {
	sum=$(( (sum * 3 + $1) & 0xffffff ))
}
i=0 sum=0 words=
while [ $i -lt $1 ]; do
	i=$((i + 1))
	case $i in
	*7) add $i ;;
	*[02468]) sum=$((sum + i)) ;;
	*3*) words="x${words%??}" ;;
	*) words=$words.$i ;;
	esac
	[ ${#words} -gt 60 ] && words=${words#????????????}
done
echo $sum $words
