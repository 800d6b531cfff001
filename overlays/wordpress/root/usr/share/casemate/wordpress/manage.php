<?php
/**
 * Installs and updates plugins and themes of a managed site, with the rights of its owner; the agent asks for it.
 *
 * CASEMATE_ACTION: check, update or install. CASEMATE_ITEMS: `plugin/name` and `theme/name`, separated by blanks; none: all with a newer version.
 * Answers {"changed": [...], "failed": [...]}. Code of the site itself is not loaded (mu-plugins/casemate-managed.php): what visitors could
 * have written into the database must not decide what runs with these rights. Packages come from wordpress.org by TLS and from nowhere else.
 */

declare(strict_types=1);

http_response_code(500);
header('Content-Type: text/plain');
set_time_limit(0);

if (getenv('CASEMATE_OWNER') !== '1') {
    exit("this is run by the unit of the owner\n");
}
define('WP_ADMIN', true);
// WordPress and its upgrader talk while they work; the answer is one line of JSON.
ob_start();
require '/usr/share/wordpress/wp-load.php';
require_once ABSPATH . 'wp-admin/includes/admin.php';
require_once ABSPATH . 'wp-admin/includes/class-wp-upgrader.php';

/** Whoever changed an answer on its way, or the database, could name any package. */
function from_wordpress_org(string $address): bool
{
    return str_starts_with($address, 'https://downloads.wordpress.org/');
}
add_filter('pre_http_request', static function ($answer, array $arguments, string $address) {
    return str_starts_with($address, 'https://') ? $answer : new WP_Error('insecure', "not by TLS: $address");
}, 10, 3);
add_filter('upgrader_pre_download', static function ($reply, string $package) {
    return from_wordpress_org($package) ? $reply : new WP_Error('foreign', "not a package of wordpress.org: $package");
}, 10, 2);

/** Versions that are newer than what is here, by item; asked now and taken from nowhere else. */
function newer(): array
{
    delete_site_transient('update_plugins');
    delete_site_transient('update_themes');
    wp_clean_plugins_cache();
    wp_clean_themes_cache();
    wp_update_plugins();
    wp_update_themes();
    $newer = [];
    foreach (get_site_transient('update_plugins')->response ?? [] as $file => $update) {
        $newer['plugin/' . explode('/', $file)[0]] = $file;
    }
    foreach (get_site_transient('update_themes')->response ?? [] as $slug => $update) {
        $newer["theme/$slug"] = $slug;
    }
    return $newer;
}

/** Done, or the reason why not. */
function outcome(mixed $done, WP_Upgrader_Skin $skin): ?string
{
    if (is_wp_error($done)) {
        return $done->get_error_message();
    }
    if (is_wp_error($skin->result ?? null)) {
        return $skin->result->get_error_message();
    }
    return $done ? null : implode(' ', array_map('wp_strip_all_tags', $skin->get_upgrade_messages()));
}

function update(string $item, array $newer): ?string
{
    if (!isset($newer[$item])) {
        return 'there is no newer version, or it is not here';
    }
    $skin = new Automatic_Upgrader_Skin();
    $upgrader = str_starts_with($item, 'plugin/') ? new Plugin_Upgrader($skin) : new Theme_Upgrader($skin);
    return outcome($upgrader->upgrade($newer[$item]), $skin);
}

function install(string $item): ?string
{
    [$kind, $name] = explode('/', $item);
    $fields = ['slug' => $name, 'fields' => ['sections' => false]];
    $found = $kind === 'plugin' ? plugins_api('plugin_information', $fields) : themes_api('theme_information', $fields);
    if (is_wp_error($found)) {
        return $found->get_error_message();
    }
    $skin = new Automatic_Upgrader_Skin();
    $upgrader = $kind === 'plugin' ? new Plugin_Upgrader($skin) : new Theme_Upgrader($skin);
    return outcome($upgrader->install($found->download_link), $skin);
}

$action = (string) ($_SERVER['CASEMATE_ACTION'] ?? '');
$items = preg_split('/ +/', (string) ($_SERVER['CASEMATE_ITEMS'] ?? ''), -1, PREG_SPLIT_NO_EMPTY);
$newer = $action === 'install' ? [] : newer();
$items = $items === [] ? array_keys($newer) : ($action === 'check' ? array_intersect($items, array_keys($newer)) : $items);
$answer = ['changed' => [], 'failed' => []];
foreach ($items as $item) {
    $reason = $action === 'check' ? null : ($action === 'install' ? install($item) : update($item, $newer));
    $answer[$reason === null ? 'changed' : 'failed'][] = $reason === null ? $item : "$item ($reason)";
}
ob_end_clean();
http_response_code(200);
echo json_encode($answer, JSON_THROW_ON_ERROR | JSON_INVALID_UTF8_SUBSTITUTE);
