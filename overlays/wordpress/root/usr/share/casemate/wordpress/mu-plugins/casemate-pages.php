<?php
/**
 * Plugin Name: casemate pages
 * Description: Keeps pages for visitors without a name, and forgets them when something changes. `page_cache = false` in host.toml switches it off.
 */

defined('ABSPATH') || exit;

if (!defined('CASEMATE_PAGES') || getenv('CASEMATE_OWNER') === '1') {
    return;
}

require_once '/usr/share/casemate/wordpress/pages.php';

add_action('template_redirect', static function (): void {
    $folder = casemate_page_folder();
    if ($folder === null) {
        return;
    }
    $mark = casemate_pages_begin(CASEMATE_PAGES);
    ob_start(static function (string $page, int $phase) use ($folder, $mark): string {
        // Whole, and not in parts.
        $whole = PHP_OUTPUT_HANDLER_START | PHP_OUTPUT_HANDLER_FINAL;
        if (($phase & $whole) === $whole && casemate_page_is_for_all($page)) {
            casemate_pages_keep(CASEMATE_PAGES, $folder, $mark, $page);
        }
        return $page;
    });
}, -1000);

/** Where the page that is asked for would be kept; nothing when it is asked for in another way than any visitor would. */
function casemate_page_folder(): ?string
{
    $path = (string) ($_SERVER['REQUEST_URI'] ?? '');
    $is_plain = ($_SERVER['REQUEST_METHOD'] ?? '') === 'GET'
        && is_ssl()
        && !isset($_SERVER['PHP_AUTH_USER'])
        && ($_SERVER['HTTP_HOST'] ?? '') === CASEMATE_PAGES_HOST
        && strlen($path) <= 200
        && preg_match('#^/(?:[A-Za-z0-9_-]+/){0,8}$#D', $path) === 1;
    // Whatever a cookie says, a plugin may have made the page of it. Who has one may still get what was kept of others.
    return $is_plain && $_COOKIE === [] ? CASEMATE_PAGES . rtrim($path, '/') : null;
}

/** Whether everybody would have got the same. */
function casemate_page_is_for_all(string $page): bool
{
    $is_page = is_front_page() || is_home() || is_singular() || is_archive();
    $is_other = is_404() || is_search() || is_feed() || is_preview() || is_customize_preview() || post_password_required();
    if (http_response_code() !== 200 || !$is_page || $is_other || is_user_logged_in() || strlen($page) > 4 << 20 || !str_contains($page, '</html>')) {
        return false;
    }
    if ((defined('DONOTCACHEPAGE') && DONOTCACHEPAGE) || !apply_filters('casemate_keep_page', true)) {
        return false;
    }
    // Apache would not say what else a plugin says with its pages: cookies, how long they are good, what they may load.
    $others = preg_grep('/^(?:content-type|link|x-powered-by):/i', headers_list(), PREG_GREP_INVERT);
    return $others === [] && preg_grep('#^content-type:\s*text/html\b#i', headers_list()) !== [];
}

/** Something that pages may show has changed: they are forgotten now, and once more at the end, for more may follow in this request. */
function casemate_pages_changed(): void
{
    static $again = false;
    casemate_pages_forget(CASEMATE_PAGES);
    if (!$again) {
        $again = true;
        register_shutdown_function('casemate_pages_forget', CASEMATE_PAGES);
    }
}

add_action('clean_post_cache', static function ($id, $post): void {
    // Drafts that nobody has saved yet, and earlier versions, are on no page.
    if (!in_array($post->post_type ?? '', ['revision', 'customize_changeset'], true) && ($post->post_status ?? '') !== 'auto-draft') {
        casemate_pages_changed();
    }
}, 10, 2);
$casemate_option = static function (string $name): void {
    $shown = ['blogname', 'blogdescription', 'permalink_structure', 'page_on_front', 'page_for_posts', 'show_on_front', 'posts_per_page', 'sticky_posts',
        'date_format', 'time_format', 'timezone_string', 'gmt_offset', 'WPLANG', 'site_icon', 'site_logo', 'sidebars_widgets', 'stylesheet', 'template', 'active_plugins',
        'comment_order', 'comments_per_page', 'page_comments', 'thread_comments', 'comment_registration', 'users_can_register', 'show_avatars', 'avatar_default',
        'blog_public'];
    if (in_array($name, $shown, true) || str_starts_with($name, 'theme_mods_') || str_starts_with($name, 'widget_')) {
        casemate_pages_changed();
    }
};
foreach (['added_option', 'updated_option', 'deleted_option'] as $casemate_hook) {
    add_action($casemate_hook, $casemate_option);
}
foreach (['clean_term_cache', 'wp_update_nav_menu', 'edit_comment', 'deleted_comment', 'profile_update', 'upgrader_process_complete', 'customize_save_after', 'import_end'] as $casemate_hook) {
    add_action($casemate_hook, 'casemate_pages_changed', 10, 0);
}
unset($casemate_hook, $casemate_option);
