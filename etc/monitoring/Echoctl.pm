package Smokeping::probes::Echoctl;

=head1 NAME

Smokeping::probes::Echoctl - measures echo services, STAMP reflectors and TCP ports by `echoctl ping`

=head1 SYNOPSIS

 *** Probes ***
 + Echoctl
 binary = /usr/bin/echoctl

 *** Targets ***
 probe = Echoctl
 + router
 host = 192.0.2.1
 url = udp://%host%:862
 value = forward

`smokeping -makepod Smokeping::probes::Echoctl` prints all variables.

=cut

use strict;
use warnings;
use base qw(Smokeping::probes::basefork);
use JSON::PP;

my %VALUES = (rtt => 'rtt_ms', forward => 'forward_ms', backward => 'backward_ms', server => 'server_ms');

sub pod_hash {
    return {
        name        => 'Smokeping::probes::Echoctl - a probe for SmokePing by `echoctl ping`',
        overview    => 'Measures an echo service, a STAMP or TWAMP Light reflector, or the time to connect to a port.',
        description => <<'DOC',
Runs `echoctl ping` for each target. The round-trip times are those of the kernel's timestamps. At a reflector,
B<value> chooses the delay of one direction; both directions need synchronized clocks.
DOC
        authors => 'The authors of echod',
    };
}

sub ProbeDesc {
    return 'echoctl ping';
}

sub probevars {
    my $class = shift;
    return $class->_makevars(
        $class->SUPER::probevars,
        {
            _mandatory => ['binary'],
            binary     => {
                _doc     => 'The path of echoctl.',
                _example => '/usr/bin/echoctl',
                _sub     => sub {
                    my $value = shift;
                    return -f $value && -x _ ? undef : "binary: $value is not a program; expected the path of echoctl";
                },
            },
        }
    );
}

sub targetvars {
    my $class = shift;
    return $class->_makevars(
        $class->SUPER::targetvars,
        {
            _mandatory => ['url'],
            url        => {
                _doc     => 'The URL of the service. %host% stands for the host of the target.',
                _example => 'udp://%host%:10007',
            },
            value => {
                _doc     => 'The time to record: rtt, or at a reflector forward, backward or server.',
                _default => 'rtt',
                _re      => '(rtt|forward|backward|server)',
            },
            interval => {
                _doc     => 'Seconds between two probes.',
                _default => '1',
                _re      => '\d+(\.\d+)?',
            },
            wait => {
                _doc     => 'Seconds after which a probe without a reply is lost.',
                _default => '2',
                _re      => '\d+(\.\d+)?',
            },
            options => {
                _doc     => 'More options of `echoctl ping`, separated by spaces.',
                _example => '--connect -4',
                _default => '',
            },
        }
    );
}

# The times of all replies to one target, in seconds, in ascending order.
sub pingone {
    my ($self, $target) = @_;
    my %vars = %{ $target->{vars} };
    (my $url = $vars{url}) =~ s/%host%/$target->{addr}/g;
    my @command = (
        $self->{properties}{binary}, 'ping', '--json-lines', '-c', $self->pings($target), '-i', "$vars{interval}s",
        '-W', "$vars{wait}s", split(' ', $vars{options}), '--', $url
    );
    $self->do_debug("running @command");
    my $output;
    if (!open $output, '-|', @command) {
        $self->do_log("cannot run $command[0]: $!");
        return;
    }
    my @times;
    while (my $line = <$output>) {
        my $found = eval { decode_json($line) } or next;
        next if ($found->{result} // '') !~ /^(received|reordered)$/;
        my $milliseconds = $found->{ $VALUES{ $vars{value} } };
        push @times, sprintf('%.10e', $milliseconds / 1000) if defined $milliseconds;
    }
    close $output;
    return sort { $a <=> $b } @times;
}

1;
