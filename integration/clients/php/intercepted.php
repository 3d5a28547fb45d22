<?php
// This program calls Meta's URLs with PHP's curl. igproxy intercepts the calls.
$graph = 'https://graph.instagram.com';

function request(string $url, ?array $form = null): CurlHandle
{
    $c = curl_init($url);
    curl_setopt($c, CURLOPT_RETURNTRANSFER, true);
    if (getenv('HTTP2') !== '1') {
        curl_setopt($c, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    }
    if ($form !== null) {
        curl_setopt($c, CURLOPT_POSTFIELDS, http_build_query($form));
    }
    return $c;
}

function answer(CurlHandle $c, string|bool|null $body): array
{
    if (!$body || curl_getinfo($c, CURLINFO_RESPONSE_CODE) !== 200) {
        fwrite(STDERR, 'curl: ' . curl_error($c) . " $body\n");
        exit(1);
    }
    return json_decode($body, true, 512, JSON_THROW_ON_ERROR);
}

function call(CurlHandle $c): array
{
    return answer($c, curl_exec($c));
}

$short = call(request('https://api.instagram.com/oauth/access_token', [
    'client_id' => getenv('CLIENT_ID'), 'client_secret' => 'none', 'grant_type' => 'authorization_code',
    'redirect_uri' => getenv('REDIRECT_URI'), 'code' => getenv('CODE'),
]))['access_token'];

$exchange = "$graph/access_token?" . http_build_query(['grant_type' => 'ig_exchange_token', 'client_secret' => 'none', 'access_token' => $short]);
$both = [request($exchange), request($exchange)];
$multi = curl_multi_init();
foreach ($both as $c) {
    curl_multi_add_handle($multi, $c);
}
do {
    curl_multi_exec($multi, $running);
    curl_multi_select($multi, 0.1);
} while ($running > 0);
$long = array_map(fn ($c) => answer($c, curl_multi_getcontent($c))['access_token'], $both);

$refreshed = call(request("$graph/refresh_access_token?" . http_build_query(['grant_type' => 'ig_refresh_token', 'access_token' => getenv('REFRESH')])))['access_token'];
$last = request("$graph/me?" . http_build_query(['fields' => 'id,username', 'access_token' => $long[0]]));
$me = call($last);
$protocol = curl_getinfo($last, CURLINFO_HTTP_VERSION) === CURL_HTTP_VERSION_2_0 ? 'HTTP/2' : 'HTTP/1.1';
echo json_encode(['short' => $short, 'long' => $long, 'refreshed' => $refreshed, 'user_id' => $me['id'], 'protocol' => $protocol]), "\n";
