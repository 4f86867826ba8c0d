# SPDX-License-Identifier: GPL-2.0-or-later
# What perl is used for: regular expressions, hashes, splitting and joining.
use strict;
use warnings;

my $scale = shift;
my ($state, %count, @lines) = (4711);
for my $i (1 .. $scale * 60) {
	$state = ($state * 1103515245 + 12345) & 0x7fffffff;
	push @lines, sprintf("%08x host%d user=%s size=%d", $state, $state % 97, chr(97 + $state / 4096 % 26) x 3, $state % 100000);
}
my ($total, $hits) = (0, 0);
for my $line (@lines) {
	if ($line =~ /^([0-9a-f]+)\s+(host\d+)\s+user=(\w+)\s+size=(\d+)$/) {
		$count{$2}{$3} += $4;
		$total += hex($1) % 1000;
	}
	$hits++ if $line =~ /(?:[aeiou]{3}|size=\d*(?:11|77))/;
	(my $copy = $line) =~ s/(\d+)/<$1>/g;
	$total += length $copy;
}
print "$total $hits\n";
for my $host (sort keys %count) {
	my @users = sort { $count{$host}{$b} <=> $count{$host}{$a} || $a cmp $b } keys %{$count{$host}};
	print join(",", $host, map { "$_=$count{$host}{$_}" } @users[0 .. 1]), "\n";
}
my @sorted = sort { substr($a, 4) cmp substr($b, 4) } @lines;
print "$sorted[0]\n$sorted[-1]\n";
