<?php
// Sends standard input over TLS, and prints as many bytes of the reply: echo.php PORT CA VERSION.
[, $port, $ca, $version] = $argv;
$method = $version === "1.2" ? STREAM_CRYPTO_METHOD_TLSv1_2_CLIENT : STREAM_CRYPTO_METHOD_TLSv1_3_CLIENT;
$options = ["ssl" => ["cafile" => $ca, "peer_name" => "localhost", "crypto_method" => $method]];
$socket = stream_socket_client("tls://127.0.0.1:$port", $number, $text, 30, STREAM_CLIENT_CONNECT,
    stream_context_create($options)) or exit(1);
foreach (str_split(stream_get_contents(STDIN), 16384) as $piece) {
    fwrite($socket, $piece);
    echo stream_get_contents($socket, strlen($piece));
}
fclose($socket);
