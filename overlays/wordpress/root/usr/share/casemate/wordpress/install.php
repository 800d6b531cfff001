<?php
/**
 * Installs WordPress into the site's empty database; the agent asks the site's own PHP for it at every boot.
 *
 * A table of ours stands in the database from the first change to the last. If it is found, an earlier run was cut:
 * what that run made is dropped and the work begins again. A database that holds anything else is never touched.
 * The administrator gets a random password that nobody is told.
 */

declare(strict_types=1);

const MARK = 'casemate_installing';

// Whatever ends this program before its last line is a failure, also WordPress's own way of giving up.
http_response_code(500);
header('Content-Type: text/plain');
set_time_limit(0);

/** Ends the run; the reason goes to the agent. */
function refuse(string $reason): never
{
    exit($reason . "\n");
}

/** Ends the run well. */
function finish(string $what): never
{
    http_response_code(200);
    exit($what . "\n");
}

$id = (string) getenv('WORDPRESS_CONFIG');
if (!preg_match('/^site[0-9]+$/D', $id)) {
    refuse('WORDPRESS_CONFIG must name a site, as `site001`');
}
$wanted = json_decode((string) file_get_contents("/etc/wordpress/install-$id.json"), true, 4, JSON_THROW_ON_ERROR);

// The database is looked at before WordPress is loaded: WordPress refuses to start on half of its tables.
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
$database = new mysqli('localhost', "$id-php", '', $id, 0, '/run/mysqld/mysqld.sock');
$tables = array_column($database->query('SHOW TABLES')->fetch_all(), 0);
if (in_array(MARK, $tables, true)) {
    $database->query('SET FOREIGN_KEY_CHECKS = 0');
    foreach (array_diff($tables, [MARK]) as $table) {
        $database->query('DROP TABLE `' . str_replace('`', '``', $table) . '`');
    }
} elseif (in_array('wp_options', $tables, true)) {
    // They may be of an earlier image.
    require '/usr/share/casemate/wordpress/pages.php';
    casemate_pages_forget("/var/lib/casemate/sites/$id/pages");
    finish('is there');
} elseif ($tables !== []) {
    refuse('the database holds tables, but none of WordPress: empty it, or import a WordPress database');
} else {
    $database->query('CREATE TABLE ' . MARK . ' (begun INT)');
}

/** In place of WordPress's own: there is no password to send. */
function wp_new_blog_notification(): void
{
}

define('WP_INSTALLING', true);
require '/usr/share/wordpress/wp-load.php';
require_once ABSPATH . 'wp-admin/includes/upgrade.php';
// No step of an installation asks the network.
add_filter('pre_http_request', static fn () => new WP_Error('offline', 'no network during installation'));

$result = wp_install($wanted['title'], $wanted['admin_user'], $wanted['admin_email'], true, '', wp_generate_password(64, true, true), $wanted['locale']);
if (empty($result['user_id'])) {
    refuse("WordPress made no administrator: $wpdb->last_error");
}
$wp_rewrite->set_permalink_structure('/%year%/%monthnum%/%postname%/');
flush_rewrite_rules(false);
update_option('default_pingback_flag', 0);
update_option('default_ping_status', 'closed');

$database->query('DROP TABLE ' . MARK);
finish('installed');
