<?php
/**
 * Plugin Name: casemate managed code
 * Description: Sites with `code = "managed"` in host.toml ask the host for plugins and themes here. The site itself cannot change its code.
 */

defined('ABSPATH') || exit;

// With the owner's rights only WordPress itself runs, and no code that the database names: plugins, a theme, or where themes are.
if (getenv('CASEMATE_OWNER') === '1') {
    add_filter('pre_option_active_plugins', '__return_empty_array');
    foreach (['template', 'stylesheet'] as $casemate_name) {
        add_filter("pre_option_$casemate_name", static fn (): string => 'twentytwentyfive');
        add_filter("pre_option_{$casemate_name}_root", static fn (): string => '/usr/share/wordpress/wp-content/themes');
    }
    unset($casemate_name);
    return;
}

if (!defined('CASEMATE_MANAGED') || !is_admin()) {
    return;
}

add_action('admin_menu', static function (): void {
    $page = add_management_page('Code by the host', 'Code by the host', 'activate_plugins', 'casemate-managed', 'casemate_managed_page');
    add_action("load-$page", 'casemate_managed_take');
});

/** Takes the form before the first byte of the page, so that a refusal has its status. */
function casemate_managed_take(): void
{
    global $casemate_said;
    if (($_SERVER['REQUEST_METHOD'] ?? '') !== 'POST') {
        return;
    }
    check_admin_referer('casemate-managed');
    if (!isset($_POST['install'])) {
        $casemate_said = casemate_managed_ask(['action' => 'update', 'items' => []]);
        return;
    }
    $name = sanitize_key($_POST['name'] ?? '');
    $kind = ($_POST['kind'] ?? '') === 'theme' ? 'theme' : 'plugin';
    $casemate_said = $name === '' ? 'Name a plugin or theme.' : casemate_managed_ask(['action' => 'install', 'items' => ["$kind/$name"]]);
}

function casemate_managed_page(): void
{
    global $casemate_said;
    $note = get_option('casemate_note');
    echo '<div class="wrap"><h1>Code by the host</h1><p>Plugins and themes of this site are installed and updated by the host it runs on: with a ',
        'snapshot before, a look at the site after, and the way back by itself when the site does not answer.</p>';
    if (is_string($casemate_said)) {
        echo '<div class="notice notice-info"><p>', esc_html($casemate_said), '</p></div>';
    }
    if (is_array($note)) {
        echo '<p><strong>Last time</strong> (', esc_html(wp_date('Y-m-d H:i', (int) $note['time'])), '): ', esc_html((string) $note['text']), '</p>';
    }
    echo '<form method="post">';
    wp_nonce_field('casemate-managed');
    echo '<p><button class="button button-primary" name="update">Update everything</button></p>',
        '<p><select name="kind"><option value="plugin">Plugin</option><option value="theme">Theme</option></select> ',
        '<input name="name" placeholder="name at wordpress.org" pattern="[a-z0-9_\-]+"> <button class="button" name="install">Install</button></p></form></div>';
}

/** Leaves a request where the host looks for it; the file appears whole. */
function casemate_managed_ask(array $request): string
{
    $place = WP_TEMP_DIR . '/casemate-request.json';
    $new = tempnam(WP_TEMP_DIR, 'request');
    if ($new === false || file_put_contents($new, wp_json_encode($request)) === false || !rename($new, $place)) {
        return 'The request could not be written.';
    }
    return 'The host was asked; look again in a minute.';
}
