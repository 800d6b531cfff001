<?php
/**
 * Plugin Name: casemate
 * Description: What the host asks of every site. Part of the verified root: a site cannot change it or switch it off.
 */

defined('ABSPATH') || exit;

// The default theme stands beside core; the site's own themes are in its wp-content.
register_theme_directory('/usr/share/wordpress/wp-content/themes');

// Remote procedure calls: thousands of passwords in one request. Apache refuses the file as well.
add_filter('xmlrpc_enabled', '__return_false');
add_filter('xmlrpc_methods', '__return_empty_array');
add_filter('wp_headers', static function (array $headers): array {
    unset($headers['X-Pingback']);
    return $headers;
});
add_filter('pings_open', '__return_false');
remove_action('wp_head', 'rsd_link');
remove_action('wp_head', 'wp_generator');
add_filter('the_generator', '__return_empty_string');

// Who writes here is nobody's business: names of users are half of a login.
add_filter('rest_endpoints', static function (array $endpoints): array {
    if (!is_user_logged_in()) {
        foreach (array_keys($endpoints) as $route) {
            if (str_starts_with($route, '/wp/v2/users')) {
                unset($endpoints[$route]);
            }
        }
    }
    return $endpoints;
});
add_filter('rest_prepare_post', static function (WP_REST_Response $response): WP_REST_Response {
    is_user_logged_in() || $response->remove_link('author');
    return $response;
});
add_filter('oembed_response_data', static function (array $data): array {
    unset($data['author_name'], $data['author_url']);
    return $data;
});
add_filter('wp_sitemaps_add_provider', static fn ($provider, string $name) => $name === 'users' ? false : $provider, 10, 2);
add_action('template_redirect', static function (): void {
    if (is_author() || isset($_GET['author'])) {
        global $wp_query;
        $wp_query->set_404();
        status_header(404);
        nocache_headers();
    }
}, 0);
add_filter('redirect_canonical', static fn ($to) => isset($_GET['author']) ? false : $to);
add_filter('login_errors', static fn (): string => __('Error: the user name or the password is wrong.'));

// Updates come with the image; nothing is offered that cannot be done.
add_filter('automatic_updater_disabled', '__return_true');
remove_action('init', 'wp_schedule_update_checks');
add_filter('pre_site_transient_update_core', static fn () => (object) ['last_checked' => time(), 'version_checked' => get_bloginfo('version'), 'updates' => []]);
