# Sends standard input over TLS, and prints as many bytes of the reply: echo.pl PORT CA VERSION.
use strict;
use warnings;
use IO::Socket::SSL;

my ($port, $ca, $version) = @ARGV;
binmode $_ for *STDIN, *STDOUT;
my $data = do { local $/; <STDIN> };
my $socket = IO::Socket::SSL->new(
    PeerHost => "localhost", PeerPort => $port, SSL_ca_file => $ca, SSL_verifycn_scheme => "http",
    SSL_version => $version eq "1.2" ? "TLSv1_2" : "TLSv1_3",
) or die "$SSL_ERROR\n";
for (my $at = 0; $at < length $data; $at += 16384) {
    my $piece = substr $data, $at, 16384;
    print $socket $piece;
    read($socket, my $reply, length $piece) == length $piece or die "the reply is too short\n";
    print $reply;
}
close $socket;
