# Frames both ways: four bytes with a length, then as many bytes. Length 0 is the end of one side, 0xffffffff that of all.
use strict;
use Fcntl qw(F_GETFL F_SETFL O_NONBLOCK);
use Socket qw(getaddrinfo SOCK_STREAM IPPROTO_TCP TCP_NODELAY);

sub fail {
	my ($code, $text) = @_;
	print STDERR "$text\n";
	exit $code;
}

my ($host, $port) = @ARGV;
my ($err, @addresses) = getaddrinfo($host, $port, { socktype => SOCK_STREAM, protocol => IPPROTO_TCP });
fail(69, "$err") if $err;
my ($s, $why);
for my $a (@addresses) {
	if (socket($s, $a->{family}, $a->{socktype}, $a->{protocol}) && connect($s, $a->{addr})) { $why = ""; last }
	$why = "$!";
}
fail(69, $why) if $why ne "" || !@addresses;
$SIG{PIPE} = "IGNORE";
setsockopt($s, IPPROTO_TCP, TCP_NODELAY, 1);
for my $h ($s, \*STDOUT) { fcntl($h, F_SETFL, fcntl($h, F_GETFL, 0) | O_NONBLOCK) }

# input: as it came; payload: what of it goes to the server; left: of the frame; output: what goes back
my ($input, $payload, $left, $output) = ("", "", 0, "perl framed\n");
my ($told, $ended, $over, $broken) = (0, 0, 0, "");    # end of their side for the server; of the server's; of all; why it takes no more
my $size = 65536;
while (1) {
	while ($payload eq "" && length $input) {
		if ($left) {
			$payload = substr($input, 0, $left, "");
			$left -= length $payload;
			$payload = "" if $broken ne "";
			next;
		}
		last if length $input < 4;
		my $n = unpack("N", substr($input, 0, 4, ""));
		exit 0 if $n == 0xffffffff;
		if ($n) { $left = $n; next }
		shutdown($s, 1);
		$told = 1;
	}
	if ($ended && $output eq "") {
		fail(70, $broken) if $broken ne "";
		exit 0 if $told;
	}
	my ($r, $w) = ("", "");
	exit 0 if $over && $payload eq "";
	vec($r, 0, 1) = 1 if !$over && length $input < $size;
	vec($r, fileno($s), 1) = 1 if !$ended && $output eq "";
	vec($w, fileno($s), 1) = 1 if $payload ne "";
	vec($w, 1, 1) = 1 if $output ne "";
	next if select($r, $w, undef, undef) < 0;
	if (vec($w, 1, 1)) {
		my $n = syswrite(STDOUT, $output);
		if (defined $n) { substr($output, 0, $n, "") }
		elsif (!$!{EAGAIN} && !$!{EINTR}) { exit 0 }
	}
	if (vec($w, fileno($s), 1)) {
		my $n = syswrite($s, $payload);
		if (defined $n) { substr($payload, 0, $n, "") }
		elsif (!$!{EAGAIN} && !$!{EINTR}) { $broken = "$!"; $payload = "" }
	}
	if (vec($r, fileno($s), 1)) {
		my $n = sysread($s, my $data, $size);
		if (defined $n) { $ended = !$n; $output = pack("N", $n) . $data }
		elsif (!$!{EAGAIN} && !$!{EINTR}) { fail(70, "$!") }
	}
	if (vec($r, 0, 1)) {
		my $n = sysread(STDIN, $input, $size, length $input);
		$over = 1 if defined $n && !$n || !defined $n && !$!{EINTR};
	}
}
