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
require_once ABSPATH . 'wp-admin/includes/plugin-install.php';

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
// Nobody is sent on to another address. WordPress's own look at addresses asks for theirs by DNS, which is not here: the proxy looks.
add_filter('http_request_args', static function (array $arguments): array {
    return ['redirection' => 0, 'reject_unsafe_urls' => false, 'timeout' => max(30, $arguments['timeout'])] + $arguments;
});
$unanswered = [];
add_action('http_api_debug', static function ($answer, $context, $class, $arguments, string $address) use (&$unanswered): void {
    $status = is_wp_error($answer) ? $answer->get_error_message() : wp_remote_retrieve_response_code($answer);
    if ($status !== 200) {
        $unanswered[] = strtok($address, '?') . ": $status";
    }
}, 10, 5);

/** What wordpress.org says is kept in memory: the database is the site's to write, also between two of our looks at it. */
function keep_here(string $name): void
{
    $kept = new stdClass();
    add_filter("pre_set_site_transient_$name", static function ($value) use (&$kept) {
        return $kept = $value;
    });
    add_filter("pre_site_transient_$name", static function () use (&$kept) {
        return $kept;
    });
}
keep_here('update_plugins');
keep_here('update_themes');

/** Part of the image: a new image brings the new version, and nothing here could be written. */
function is_pinned(string $folder): bool
{
    return is_link($folder);
}

/** Files or folders, and versions, that are newer than what is here and can be had, by item. */
function newer(): array
{
    global $unanswered;
    wp_update_plugins();
    wp_update_themes();
    if ($unanswered !== []) {
        exit('no answer about versions: ' . implode('; ', $unanswered) . "\n");
    }
    $newer = [];
    foreach (get_site_transient('update_plugins')->response ?? [] as $file => $update) {
        $name = explode('/', $file)[0];
        if (!empty($update->package) && !is_pinned(WP_PLUGIN_DIR . "/$name")) {
            $newer["plugin/$name"] = [$file, $update->new_version];
        }
    }
    foreach (get_site_transient('update_themes')->response ?? [] as $slug => $update) {
        if (!empty($update['package']) && !is_pinned(WP_CONTENT_DIR . "/themes/$slug")) {
            $newer["theme/$slug"] = [$slug, $update['new_version']];
        }
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

/** The reason why not, or nothing. */
function update(string $item, array $newer): ?string
{
    if (!isset($newer[$item])) {
        return 'there is no newer version, or it is not here';
    }
    $skin = new Automatic_Upgrader_Skin();
    $upgrader = str_starts_with($item, 'plugin/') ? new Plugin_Upgrader($skin) : new Theme_Upgrader($skin);
    return outcome($upgrader->upgrade($newer[$item][0]), $skin);
}

/** The reason why not, or nothing; and the version. */
function install(string $item): array
{
    [$kind, $name] = explode('/', $item);
    $fields = ['slug' => $name, 'fields' => ['sections' => false]];
    $found = $kind === 'plugin' ? plugins_api('plugin_information', $fields) : themes_api('theme_information', $fields);
    if (is_wp_error($found)) {
        return [$found->get_error_message(), ''];
    }
    $skin = new Automatic_Upgrader_Skin();
    $upgrader = $kind === 'plugin' ? new Plugin_Upgrader($skin) : new Theme_Upgrader($skin);
    return [outcome($upgrader->install($found->download_link), $skin), $found->version];
}

$action = (string) ($_SERVER['CASEMATE_ACTION'] ?? '');
$items = preg_split('/ +/', (string) ($_SERVER['CASEMATE_ITEMS'] ?? ''), -1, PREG_SPLIT_NO_EMPTY);
$newer = $action === 'install' ? [] : newer();
if ($items === []) {
    $items = array_keys($newer);
} elseif ($action === 'check') {
    $items = array_intersect($items, array_keys($newer));
}
$answer = ['changed' => [], 'failed' => []];
foreach ($items as $item) {
    $unanswered = [];
    [$reason, $version] = match ($action) {
        'check' => [null, $newer[$item][1]],
        'update' => [update($item, $newer), $newer[$item][1] ?? ''],
        'install' => install($item),
    };
    if ($reason === null) {
        $answer['changed'][] = "$item " . substr(preg_replace('/[^\w.+-]/', '?', (string) $version), 0, 40);
    } else {
        $answer['failed'][] = "$item (" . implode('; ', [$reason, ...$unanswered]) . ')';
    }
}
ob_end_clean();
http_response_code(200);
echo json_encode($answer, JSON_THROW_ON_ERROR | JSON_INVALID_UTF8_SUBSTITUTE);
