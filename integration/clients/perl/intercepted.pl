#!/usr/bin/env perl
# This program calls Meta's URLs with LWP. igproxy intercepts the calls. LWP uses HTTPS_PROXY
# only if PERL_LWP_ENV_PROXY is set or the program turns on env_proxy.
use strict;
use warnings;
use JSON::PP qw(encode_json decode_json);
use LWP::UserAgent;
use URI;

my $graph = 'https://graph.instagram.com';
my $agent = LWP::UserAgent->new;

sub answer {
    my ($response) = @_;
    $response->is_success or die $response->status_line, ' ', $response->decoded_content, "\n";
    return decode_json $response->decoded_content;
}

sub get {
    my ($path, %query) = @_;
    my $uri = URI->new($graph . $path);
    $uri->query_form(%query);
    return answer($agent->get($uri));
}

my $short = answer($agent->post('https://api.instagram.com/oauth/access_token', {
    client_id    => $ENV{CLIENT_ID}, client_secret => 'none', grant_type => 'authorization_code',
    redirect_uri => $ENV{REDIRECT_URI}, code => $ENV{CODE},
}))->{access_token};

my @pipes = map {
    my $child = open(my $pipe, '-|') // die "fork: $!";
    if (!$child) {
        print get('/access_token', grant_type => 'ig_exchange_token', client_secret => 'none', access_token => $short)->{access_token};
        exit;
    }
    $pipe;
} 1, 2;
my @long = map { scalar readline $_ } @pipes;

my $refreshed = get('/refresh_access_token', grant_type => 'ig_refresh_token', access_token => $ENV{REFRESH})->{access_token};
my $me        = get('/me', fields => 'id,username', access_token => $long[0]);
print encode_json({ short => $short, long => \@long, refreshed => $refreshed, user_id => $me->{id} }), "\n";
