<?php
/**
 * Installs WordPress into the site's empty database; run as the site's PHP user at every boot.
 *
 * A table of ours stands in the database from the first change to the last. If it is found, an earlier run was cut:
 * what that run made is dropped and the work begins again. A database that holds anything else is never touched.
 * The administrator gets a random password that nobody is told.
 */

declare(strict_types=1);

const MARK = 'casemate_installing';

/** Ends the run; the reason goes to the agent. */
function refuse(string $reason): never
{
    fwrite(STDERR, $reason . "\n");
    exit(1);
}

$id = (string) getenv('WORDPRESS_CONFIG');
if (!preg_match('/^site[0-9]+$/D', $id)) {
    refuse('WORDPRESS_CONFIG must name a site, as `site001`');
}
$wanted = json_decode((string) file_get_contents("/etc/wordpress/install-$id.json"), true, 4, JSON_THROW_ON_ERROR);

// What a request would bring.
$_SERVER['WORDPRESS_CONFIG'] = $id;
$_SERVER['HTTP_HOST'] = $wanted['name'];
$_SERVER['SERVER_NAME'] = $wanted['name'];
$_SERVER['REQUEST_URI'] = '/';
$_SERVER['REQUEST_METHOD'] = 'GET';
$_SERVER['SERVER_PROTOCOL'] = 'HTTP/1.1';
$_SERVER['REMOTE_ADDR'] = '127.0.0.1';
$_SERVER['HTTPS'] = 'on';

/** In place of WordPress's own: there is no password to send. */
function wp_new_blog_notification(): void
{
}

define('WP_INSTALLING', true);
require '/usr/share/wordpress/wp-load.php';
require_once ABSPATH . 'wp-admin/includes/upgrade.php';
// No step of an installation asks the network.
add_filter('pre_http_request', static fn () => new WP_Error('offline', 'no network during installation'));

$tables = $wpdb->get_col('SHOW TABLES');
if ($wpdb->last_error !== '') {
    refuse("cannot read the database: $wpdb->last_error");
}
if (in_array(MARK, $tables, true)) {
    $wpdb->query('SET FOREIGN_KEY_CHECKS = 0');
    foreach (array_diff($tables, [MARK]) as $table) {
        $wpdb->query('DROP TABLE `' . str_replace('`', '``', $table) . '`') !== false || refuse("cannot drop `$table`: $wpdb->last_error");
    }
} elseif ($tables !== []) {
    in_array($wpdb->options, $tables, true) || refuse('the database holds tables, but none of WordPress: empty it, or import a WordPress database');
    exit(0);
} else {
    $wpdb->query('CREATE TABLE ' . MARK . ' (begun INT)') !== false || refuse("cannot write to the database: $wpdb->last_error");
}
wp_cache_flush();

$result = wp_install($wanted['title'], $wanted['admin_user'], $wanted['admin_email'], true, '', wp_generate_password(64, true, true), $wanted['locale']);
if (empty($result['user_id'])) {
    refuse("WordPress made no administrator: $wpdb->last_error");
}
$wp_rewrite->set_permalink_structure('/%year%/%monthnum%/%postname%/');
flush_rewrite_rules(false);
update_option('default_pingback_flag', 0);
update_option('default_ping_status', 'closed');

$wpdb->query('DROP TABLE ' . MARK) !== false || refuse("cannot finish: $wpdb->last_error");
echo "installed\n";
