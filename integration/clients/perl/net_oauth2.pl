#!/usr/bin/env perl
# Net::OAuth2: every URL is an option or an argument. The library ignores a path in its option
# "site". It warns if the client secret is missing, so this program gives it a made-up one.
use strict;
use warnings;
use JSON::PP qw(encode_json decode_json);
use Net::OAuth2::Profile::WebServer;
use Net::OAuth2::AccessToken;

my $base = $ENV{IGPROXY};
my $login = Net::OAuth2::Profile::WebServer->new(
    client_id        => $ENV{CLIENT_ID},
    client_secret    => 'none',
    access_token_url => "$base/oauth/access_token",
    redirect_uri     => $ENV{REDIRECT_URI},
);

my $short = $login->get_access_token($ENV{CODE});
my $long  = decode_json $short->get("$base/access_token?grant_type=ig_exchange_token")->decoded_content;

my $token = Net::OAuth2::AccessToken->new(profile => $login, access_token => $long->{access_token});
my $me    = decode_json $token->get("$base/me?fields=id,username")->decoded_content;

eval { $login->get_access_token($ENV{BAD_CODE}); 1 } and die "the call did not fail\n";
my $code_error = $@;

my $expired = Net::OAuth2::AccessToken->new(profile => $login, access_token => $ENV{BAD_TOKEN});
my $answer  = $expired->get("$base/access_token?grant_type=ig_exchange_token");
my $error   = decode_json($answer->decoded_content)->{error};

print encode_json({
    short       => $short->access_token,
    long        => $long->{access_token},
    expires_in  => $long->{expires_in},
    user_id     => $me->{id},
    code_error  => $code_error,
    token_error => join(' ', $answer->code, @$error{qw(code error_subcode)}),
}), "\n";
