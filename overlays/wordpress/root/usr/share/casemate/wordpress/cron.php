<?php
/**
 * Does what WordPress has planned for this site; the agent asks for it every ten minutes, one site after the other. WordPress's own
 * wp-cron.php says that it is done before it begins: nobody would see a failure, and all sites would work at once.
 */

declare(strict_types=1);

http_response_code(500);
header('Content-Type: text/plain');
set_time_limit(240);
define('DOING_CRON', true);
require '/usr/share/wordpress/wp-load.php';
// Before anything that may not come back.
if (defined('CASEMATE_PAGES')) {
    casemate_pages_expire(CASEMATE_PAGES);
}

foreach (wp_get_ready_cron_jobs() as $time => $hooks) {
    foreach ($hooks as $hook => $events) {
        foreach ($events as $event) {
            if ($event['schedule']) {
                wp_reschedule_event($time, $event['schedule'], $hook, $event['args']);
            }
            wp_unschedule_event($time, $hook, $event['args']);
            do_action_ref_array($hook, $event['args']);
        }
    }
}
http_response_code(200);
