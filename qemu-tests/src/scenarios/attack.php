<?php
/*
 * What somebody does who got a program into a site: everything that must not work, and a few things that must.
 * Answers with JSON: for each attempt whether it got what it wanted, what it saw, and how long it took.
 */

const OWN = '/var/lib/casemate/sites/site001';
const OTHER = '/var/lib/casemate/sites/site002';
const UPLOADS = OWN . '/htdocs/wp-content/uploads';
const PROXY = 'http://127.77.0.1:3128';
const OTHER_PROXY = 'http://127.77.0.2:3128';

$seen = [];

/** Tries something; it succeeded if what came back holds `$wanted`. */
function attempt(string $name, string $wanted, callable $try): void
{
    global $seen;
    $begun = hrtime(true);
    try {
        $got = $try();
        $got = is_string($got) ? $got : var_export($got, true);
    } catch (Throwable $refusal) {
        $got = 'refused: ' . $refusal->getMessage();
    }
    $seen[$name] = [
        'done' => str_contains($got, $wanted),
        'saw' => mb_substr($got, 0, 200),
        'ms' => intdiv(hrtime(true) - $begun, 1_000_000),
    ];
}

/** What a program says. */
function said(array|string $command): string
{
    $program = proc_open($command, [['file', '/dev/null', 'r'], ['pipe', 'w'], ['pipe', 'w']], $pipes);
    if (!is_resource($program)) {
        return 'not started';
    }
    $text = stream_get_contents($pipes[1]) . stream_get_contents($pipes[2]);
    proc_close($program);
    return $text;
}

function reached(string $address): string
{
    error_clear_last();
    $stream = @stream_socket_client($address, $number, $reason, 5);
    if ($stream === false) {
        return "refused: $reason";
    }
    // A datagram is refused when the second one is sent, or its answer read.
    stream_set_timeout($stream, 1);
    for ($round = 0; $round < 2; $round++) {
        if (@fwrite($stream, "x\n") === false) {
            return 'refused: cannot write';
        }
        usleep(5_000);
    }
    return str_starts_with($address, 'udp') && error_get_last() !== null ? 'refused: ' . error_get_last()['message'] : 'reached';
}

function asked(string $url, string $proxy): string
{
    $request = curl_init($url);
    curl_setopt_array($request, [
        CURLOPT_RETURNTRANSFER => true, CURLOPT_PROXY => $proxy, CURLOPT_TIMEOUT => 10,
        CURLOPT_SSL_VERIFYPEER => false, CURLOPT_SSL_VERIFYHOST => 0,
    ]);
    $body = curl_exec($request);
    return 'proxy ' . curl_getinfo($request, CURLINFO_HTTP_CONNECTCODE) . ' answer ' . curl_getinfo($request, CURLINFO_RESPONSE_CODE)
        . ' ' . ($body === false ? curl_error($request) : $body);
}

/** By the proxy to one name, and then with TLS as if it were another. */
function asked_as(string $name, string $said): string
{
    $stream = stream_socket_client(str_replace('http', 'tcp', PROXY), $number, $reason, 5);
    fwrite($stream, "CONNECT $name:443 HTTP/1.1\r\nHost: $name:443\r\n\r\n");
    $answer = '';
    while (!str_contains($answer, "\r\n\r\n") && ($part = fread($stream, 512)) !== false && $part !== '') {
        $answer .= $part;
    }
    stream_context_set_option($stream, ['ssl' => ['peer_name' => $said, 'verify_peer' => false, 'verify_peer_name' => false]]);
    $encrypted = @stream_socket_enable_crypto($stream, true, STREAM_CRYPTO_METHOD_TLS_CLIENT);
    return strtok($answer, "\r") . ($encrypted === true ? ', encrypted' : ', no TLS');
}

function database(string $user, string $name): string
{
    mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
    return 'connected: ' . (new mysqli('localhost', $user, '', $name, 0, '/run/mysqld/mysqld.sock'))->host_info;
}

// Controls: the same means, where they may be used.
attempt('control: own database', 'connected', fn () => database('site001-php', 'site001'));
attempt('control: own code is read', '<?php', fn () => file_get_contents(__FILE__));
attempt('control: an upload is written', 'written', fn () => file_put_contents(UPLOADS . '/note.txt', 'x') === 1 ? 'written' : 'no');
attempt('control: the own site is asked', 'answer 200', fn () => asked('https://www.example.org/wp-json/', PROXY));

attempt('control: a listed name is asked', 'a page of the neighbour', fn () => asked('http://listed.example.net/', PROXY));

attempt('control: a name is asked as itself', ', encrypted', fn () => asked_as('www.example.org', 'www.example.org'));

// Files.
attempt('passwords', 'root:', fn () => file_get_contents('/etc/shadow'));
attempt('accounts', 'root:', fn () => file_get_contents('/etc/passwd') . file_get_contents('/proc/self/root/etc/passwd'));
attempt('the other site, by path', '<?php', fn () => file_get_contents(OTHER . '/htdocs/wp-content/index.php'));
attempt('the other site, by list', 'site002', fn () => implode(' ', scandir(dirname(OTHER))));
attempt('the other site, by link', '<?php', fn () => function_exists('symlink') && symlink(OTHER, UPLOADS . '/other')
    ? file_get_contents(UPLOADS . '/other/htdocs/wp-content/index.php') : 'no link');
attempt('the other site\'s secret', '64', fn () => (string) strlen(trim((string) file_get_contents('/var/lib/casemate/keys/wordpress/site002'))));
attempt('the host\'s keys', 'PRIVATE', fn () => file_get_contents('/var/lib/casemate/keys/tls/site001.key'));
attempt('the host\'s document', 'hostname', fn () => file_get_contents('/var/lib/casemate/accepted/host.toml'));
attempt('new code', 'written', fn () => file_put_contents(__DIR__ . '/planted.php', '<?php') > 0 ? 'written' : 'no');
attempt('changed code', '1', fn () => (string) (int) file_put_contents(__FILE__, 'x', FILE_APPEND));
attempt('changed core', '1', fn () => (string) (int) file_put_contents('/usr/share/wordpress/planted.php', 'x'));
attempt('changed must-use plugin', '1', fn () => (string) (int) file_put_contents('/usr/share/casemate/wordpress/mu-plugins/planted.php', 'x'));
attempt('changed modes of code', 'true', fn () => chmod(__FILE__, 0777));
attempt('changed php.ini', '1', fn () => (string) (int) file_put_contents(__DIR__ . '/.user.ini', 'x'));
attempt('a file of shared memory', '1', fn () => (string) (int) file_put_contents('/dev/shm/x', 'x'));

// Others.
attempt('processes of others', 'yes', function () {
    $numbers = array_filter(scandir('/proc'), is_numeric(...));
    foreach ($numbers as $number) {
        $line = @file_get_contents("/proc/$number/cmdline");
        if ($line !== false && !str_starts_with($line, 'php-fpm: ')) {
            return "yes: $number $line";
        }
    }
    return 'only ' . count($numbers);
});
attempt('environment of the first process', '=', fn () => file_get_contents('/proc/1/environ'));
attempt('sockets of others', '.sock', fn () => implode(' ', array_merge(scandir('/run'), is_dir('/run/php') ? scandir('/run/php') : [])));
attempt('the system bus', 'reached', fn () => reached('unix:///run/dbus/system_bus_socket'));
attempt('the service manager', 'reached', fn () => reached('unix:///run/systemd/private'));
attempt('the other site\'s database', 'connected', fn () => database('site001-php', 'site002'));
attempt('the database as the other site', 'connected', fn () => database('site002-php', 'site002'));
attempt('the database as root', 'connected', fn () => database('root', 'mysql'));

// Programs.
foreach (['exec', 'shell_exec', 'system', 'passthru'] as $name) {
    attempt("a program by $name", 'uid=', fn () => (string) $name('id'));
}
attempt('a program by popen', 'uid=', fn () => (string) fread(popen('id', 'r'), 100));
attempt('a program by a line', 'uid=', fn () => said('id'));
attempt('a program by a list', 'uid=', fn () => said(['/usr/bin/id']));
attempt('a shell', '42', fn () => said(['/bin/sh', '-c', 'echo $((40 + 2))']));
attempt('a program by mail', 'true', fn () => mail('x@example.net', 'x', 'x', '', '-OQueueDirectory=/tmp'));
attempt('a program by fork', 'true', fn () => pcntl_exec('/usr/bin/id'));
attempt('foreign functions', 'uid', fn () => FFI::cdef('int getuid(void);')->getuid() . 'uid');
attempt('a library by the environment', 'it was loaded', function () {
    copy('/usr/lib/x86_64-linux-gnu/libz.so.1', UPLOADS . '/library.so');
    putenv('LD_PRELOAD=' . UPLOADS . '/library.so');
    $text = said(['/usr/sbin/php-fpm8.4', '-v']);
    putenv('LD_PRELOAD');
    return str_contains($text, 'PHP 8') && !str_contains($text, 'cannot be preloaded') ? "it was loaded: $text" : $text;
});
attempt('an extension', 'true', fn () => dl('program.so'));
foreach ([UPLOADS, OWN . '/tmp', '/tmp', '/run', '/var'] as $dir) {
    $copy = "$dir/program";
    if ($dir !== UPLOADS) {
        @copy(UPLOADS . '/program', $copy);
    }
    @chmod($copy, 0755);
    attempt("a program in $dir", 'ran: 42', fn () => said([$copy]));
    @copy('/usr/sbin/php-fpm8.4', "$dir/copy");
    attempt("a program in $dir by the loader", 'PHP 8', fn () => said(['/usr/lib64/ld-linux-x86-64.so.2', "$dir/copy", '-v']));
}

// Ways out.
attempt('the neighbour by TCP', 'reached', fn () => reached('tcp://10.0.2.2:80'));
attempt('the neighbour by UDP', 'reached', fn () => reached('udp://10.0.2.2:53'));
attempt('a name server', 'reached', fn () => reached('udp://127.0.0.53:53'));
attempt('a name', '.', fn () => gethostbyname('example.com') === 'example.com' ? 'not found' : 'found.');
attempt('the cloud\'s metadata', 'reached', fn () => reached('tcp://169.254.169.254:80'));
attempt('the host\'s ssh', 'reached', fn () => reached('tcp://127.0.0.1:22'));
attempt('the host\'s web server', 'reached', fn () => reached('tcp://127.0.0.1:443'));
attempt('by IPv6', 'reached', fn () => reached('tcp://[::1]:443'));
attempt('an own server', 'true', fn () => is_resource(stream_socket_server('tcp://0.0.0.0:8080')));
attempt('an unlisted name by the proxy', 'answer 200', fn () => asked('http://unlisted.example.net/', PROXY));
attempt('an unlisted name by the proxy, TLS', 'answer 200', fn () => asked('https://unlisted.example.net/', PROXY));
attempt('an address by the proxy', 'answer 200', fn () => asked('http://10.0.2.2/', PROXY));
attempt('a listed name under another port', 'answer 200', fn () => asked('https://www.example.org:22/', PROXY));
attempt('a listed name that leads inside by the proxy', 'answer 200', fn () => asked('http://inside.example.net/', PROXY));
attempt('a listed name, asked by the proxy as another', ', encrypted', fn () => asked_as('www.example.org', 'b.example.org'));
attempt('the other site\'s proxy', 'answer 200', fn () => asked('https://b.example.org/', OTHER_PROXY));
attempt('the other site by the own proxy', 'answer 200', fn () => asked('https://b.example.org/', PROXY));

header('Content-Type: application/json');
echo json_encode($seen, JSON_INVALID_UTF8_SUBSTITUTE | JSON_THROW_ON_ERROR);
