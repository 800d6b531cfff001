<?php
/**
 * Plugin Name: casemate mail
 * Description: Mail goes to the site's own address of the host's mail server, from a name of the site. Part of the verified root: a site cannot change it or switch it off.
 */

defined('ABSPATH') || exit;

/** Whether the mail server takes this sender. */
function casemate_may_send(string $address): bool
{
    return in_array(strtolower(substr((string) strrchr($address, '@'), 1)), CASEMATE_MAIL_NAMES, true);
}

// WordPress leaves out `www.` when it makes up a sender; the name without it need not be one of this site.
add_filter('wp_mail_from', static fn ($from) => str_starts_with((string) $from, 'wordpress@') && !casemate_may_send((string) $from)
    ? 'wordpress@' . CASEMATE_MAIL_NAMES[0] : $from);

// Last of all, so that no plugin sends past the one way out. There is no login: the server knows the site by the address.
add_action('phpmailer_init', static function ($mail): void {
    $mail->isSMTP();
    $mail->Host = CASEMATE_SMTP_HOST;
    $mail->Port = 25;
    $mail->SMTPAuth = false;
    $mail->SMTPSecure = '';
    $mail->SMTPAutoTLS = false;
    $mail->Timeout = 10;
    $mail->Hostname = CASEMATE_MAIL_NAMES[0];
    // Forms like to write in the name of their visitor. The answer still goes there.
    if (!casemate_may_send($mail->From)) {
        if ($mail->getReplyToAddresses() === []) {
            $mail->addReplyTo($mail->From, $mail->FromName);
        }
        $mail->setFrom('wordpress@' . CASEMATE_MAIL_NAMES[0], $mail->FromName, false);
    }
    $mail->Sender = $mail->From;
}, PHP_INT_MAX);
