# SPDX-License-Identifier: GPL-2.0-or-later
# Numbers, regular expressions, sorting, formats, closures, processes.
use strict;
use warnings;

my ($state, @numbers) = (99);
for (1 .. 3000) {
	$state = ($state * 69069 + 1) % 4294967296;
	push @numbers, $state;
}
my $sum = 0;
$sum += $_ / 7 for @numbers;
printf "%.17g %d %s\n", $sum, $sum % 1000003, join ",", (sort { $a <=> $b } @numbers)[0 .. 3];
printf "%.15g %.15g %.15g %.15g\n", sin 1, exp 2.5, log 10, 2 ** 0.5;
printf "%s %s %s\n", 0.1 + 0.2, 1e21 * 3, 9 ** 20;
print 18446744073709551615 & ~0xff, " ", 1 << 40, " ", -7 % 3, " ", int(-7 / 2), "\n";

my $text = join " ", map { sprintf "%x-%o:%b", $_, $_ % 512, $_ % 64 } @numbers;
my %seen;
$seen{$1}++ while $text =~ /([a-f]{2,})/g;
print join(" ", map { "$_=$seen{$_}" } (sort { $seen{$b} <=> $seen{$a} || $a cmp $b } keys %seen)[0 .. 9]), "\n";
(my $changed = $text) =~ s/(\d+)-(\d+)/$2 + $1/ge;
$changed =~ tr/a-f/A-F/;
print length $changed, " ", unpack("%32C*", $changed), " ", substr($changed, 500, 40), "\n";
print "balanced\n" if "((a)(b(c)))" =~ /^(\((?:[^()]++|(?1))*\))$/;
my @words = sort { lc $a cmp lc $b or $a cmp $b } split /[^a-z]+/i, $text;
print scalar(@words), " $words[1] $words[-1]\n";
print unpack("H*", pack "NnCvVQ<d>", 1, 2, 3, 4, 5, 6, 7.5), "\n";

my @counters = map { my $n = $_; sub { $n += shift } } 1 .. 3;
print join(",", map { $_->(10) + $_->(5) } @counters), "\n";
my $result = eval { die { code => 7 } };
print "caught $@->{code}\n";
open my $pipe, "-|", "echo from a child; exit 4" or die;
print <$pipe>;
close $pipe;
print "status ", $? >> 8, "\n";
my $child = fork // die;
exit 5 unless $child;
waitpid $child, 0;
print "child ", $? >> 8, "\n";
local $SIG{ALRM} = sub { die "alarm\n" };
eval { alarm 1; 1 while 1 };
print "got $@";
my @sorted = sort { $a->[1] <=> $b->[1] || $a->[0] <=> $b->[0] } map { [$_, $_ * $_ % 1009] } 1 .. 2000;
print "$sorted[0][0] $sorted[1000][0] $sorted[-1][0]\n";
print "@{[reverse 1 .. 5]} ", "abc" x 3, " ", ucfirst lc "HELLO", " ", join("|", "a1b22c" =~ /\d+/g), "\n";
