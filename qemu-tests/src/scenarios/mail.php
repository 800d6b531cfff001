<?php
/*
 * What a program in a site does to send mail; says what became of it. Values come as hexadecimal digits.
 *   what=password       as if somebody had lost the editor's password
 *   what=form           as a contact form that writes in the name of its visitor
 *   what=smtp           with its own words: at, from, parameters, header, recipients (a number), times (a number)
 */

/** A value of the request. */
function given(string $name, string $usual = ''): string
{
    return isset($_GET[$name]) ? (string) hex2bin($_GET[$name]) : $usual;
}

/** One message; the answer that decided it. */
function submitted(string $at): string
{
    $stream = @stream_socket_client("tcp://$at:25", $number, $reason, 5);
    if ($stream === false) {
        return "no connection: $reason";
    }
    stream_set_timeout($stream, 10);
    $answer = '';
    $say = static function (string $line) use ($stream, &$answer): bool {
        fwrite($stream, $line);
        do {
            $answer = (string) fgets($stream, 1000);
        } while (substr($answer, 3, 1) === '-');
        return $answer !== '' && $answer[0] < '4';
    };
    $header = given('header', 'From: somebody@' . $_SERVER['SERVER_NAME']);
    $good = $say('') && $say("EHLO x\r\n") && $say('MAIL FROM:<' . given('from') . '>' . given('parameters') . "\r\n");
    for ($n = 0; $good && $n < (int) given('recipients', '1'); $n++) {
        $good = $say("RCPT TO:<friend$n@example.net>\r\n");
    }
    $good && $say("DATA\r\n") && $say("$header\r\nSubject: test\r\n\r\ntext\r\n.\r\n");
    fwrite($stream, "QUIT\r\n");
    return trim($answer);
}

header('Content-Type: text/plain');
if ($_GET['what'] === 'smtp') {
    for ($n = 0; $n < (int) given('times', '1'); $n++) {
        echo submitted(given('at', (string) getenv('SMTP_HOST'))), "\n";
    }
    exit;
}

require '/usr/share/wordpress/wp-load.php';
add_action('wp_mail_failed', static function (WP_Error $error): void {
    echo $error->get_error_message(), "\n";
});
$done = $_GET['what'] === 'password'
    ? retrieve_password('editor')
    : wp_mail('owner@example.net', 'A form', 'text', ['From: Visitor <visitor@example.com>']);
echo $done === true ? 'sent' : 'not sent';
