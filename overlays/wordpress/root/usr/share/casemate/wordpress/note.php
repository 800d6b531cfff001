<?php
/** Remembers what the host did to the site's code, for the page in wp-admin (mu-plugins/casemate-managed.php); the agent asks for it. */

declare(strict_types=1);

http_response_code(500);
header('Content-Type: text/plain');
require '/usr/share/wordpress/wp-load.php';
update_option('casemate_note', ['time' => time(), 'text' => substr((string) ($_SERVER['CASEMATE_NOTE'] ?? ''), 0, 2000)], false);
http_response_code(200);
