#!/usr/bin/env perl
# Net::Facebook::Oauth2: the URLs of the token calls are options, and the URLs of reads are
# arguments. The library does not accept an empty secret, so this program gives it a made-up one.
use strict;
use warnings;
use JSON::PP qw(encode_json);
use Net::Facebook::Oauth2;

my $base = $ENV{IGPROXY};

sub facebook {
    return Net::Facebook::Oauth2->new(
        application_id     => $ENV{CLIENT_ID},
        application_secret => 'none',
        callback           => $ENV{REDIRECT_URI},
        access_token_url   => "$base/oauth/access_token",
        debug_token_url    => "$base/debug_token",
        @_,
    );
}

sub refused {
    my ($call) = @_;
    eval { $call->(); 1 } and die "the call did not fail\n";
    return $@;
}

my $login = facebook();
my $short = $login->get_access_token(code => $ENV{CODE});
my $long  = $login->get_long_lived_token(access_token => $short);
my $about = $login->debug_token(input => $long); # the library does not return expires_in
my $me    = $login->get("$base/v23.0/me", { fields => 'id,name' })->as_hash;

print encode_json({
    short       => $short,
    long        => $long,
    expires_in  => $about->{expires_at} - time,
    user_id     => $me->{id},
    inspected   => "$about->{app_id} " . ($about->{is_valid} ? 'true' : 'false'),
    code_error  => refused(sub { facebook()->get_access_token(code => $ENV{BAD_CODE}) }),
    token_error => refused(sub { facebook()->get_long_lived_token(access_token => $ENV{BAD_TOKEN}) }),
}), "\n";
