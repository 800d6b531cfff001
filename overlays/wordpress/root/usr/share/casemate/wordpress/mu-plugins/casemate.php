<?php
/**
 * Plugin Name: casemate
 * Description: What the host asks of every site. Part of the verified root: a site cannot change it or switch it off.
 */

defined('ABSPATH') || exit;

// The default theme stands beside core; the site's own themes are in its wp-content.
register_theme_directory('/usr/share/wordpress/wp-content/themes');

// A theme that has left the image, or that its owner took away: visitors get the default one and not an empty page.
add_action('setup_theme', static function (): void {
    if (!is_dir(get_stylesheet_directory()) || !is_dir(get_template_directory())) {
        validate_current_theme();
    }
});

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
const CASEMATE_WRONG = 'Error: the user name or the password is wrong.';
add_filter('login_errors', static fn (): string => __(CASEMATE_WRONG));
// The same of application passwords. WordPress asks whether one was wrong (priority 90) before it has looked at it, unless somebody asks who this is:
// a wrong one would be no error, and counted by nobody.
add_filter('rest_authentication_errors', static function ($result) {
    wp_get_current_user();
    return $result;
}, 89);
add_filter('rest_authentication_errors', static function ($result) {
    $telling = ['invalid_username', 'invalid_email', 'incorrect_password'];
    $is_telling = is_wp_error($result) && in_array($result->get_error_code(), $telling, true);
    return $is_telling ? new WP_Error('incorrect_password', __(CASEMATE_WRONG), ['status' => 401]) : $result;
}, 99);

// "Safe" requests (feeds, embeds, packages) ask DNS first whether a name leads inside. There is no DNS here, so all of them would fail; the
// proxy, which does look names up, refuses those that lead inside, and all that the document does not allow.
add_filter('http_request_args', static fn (array $arguments): array => ['reject_unsafe_urls' => false] + $arguments);

// Who tries passwords: one line with the client's address, before anything that the client chose. It is for people: bans are made of Apache's lines.
add_action('wp_login_failed', static function (string $name): void {
    casemate_log('login failed', $name);
});
add_action('application_password_failed_authentication', static function (): void {
    casemate_log('login failed', (string) ($_SERVER['PHP_AUTH_USER'] ?? ''));
});
add_action('wp_login', static function (string $name): void {
    casemate_log('login', $name);
});

/** A line in the host's journal. */
function casemate_log(string $what, string $name): void
{
    $address = filter_var($_SERVER['REMOTE_ADDR'] ?? '', FILTER_VALIDATE_IP) ?: 'unknown';
    error_log(sprintf('wordpress: %s from %s for "%s"', $what, $address, preg_replace('/[^\w.@ -]/', '?', substr($name, 0, 60))));
}

// Links of `casemate-agent site login`: `<account in hex>.<end>.<number>.<signature>`. A look at the link changes nothing (programs that
// show a preview of it do that); the button uses it up.
add_action('init', static function (): void {
    $token = $_POST['casemate-login'] ?? $_GET['casemate-login'] ?? null;
    if (!is_string($token)) {
        return;
    }
    nocache_headers();
    header('Referrer-Policy: no-referrer');
    $user = casemate_link_user($token);
    if ($user === null) {
        casemate_log('login by a link that is not good', '');
        wp_die(esc_html__('This link is not good, or not any more.'), '', ['response' => 403]);
    }
    if ($_SERVER['REQUEST_METHOD'] !== 'POST') {
        echo '<!doctype html><meta charset="utf-8"><meta name="robots" content="noindex"><title>Login</title><form method="post" action="/">',
            '<input type="hidden" name="casemate-login" value="', esc_attr($token), '"><button>',
            esc_html(sprintf(__('Log in as %s'), $user->user_login)), '</button></form>';
        exit;
    }
    if (!casemate_link_use($token)) {
        wp_die(esc_html__('This link is not good, or not any more.'), '', ['response' => 403]);
    }
    casemate_log('login by link', $user->user_login);
    wp_set_auth_cookie($user->ID, false, true);
    wp_safe_redirect(admin_url());
    exit;
}, 0);

/** Whom a link logs in, if it is signed with this site's secret and not too old. */
function casemate_link_user(string $token): ?WP_User
{
    $parts = explode('.', $token);
    if (count($parts) !== 4 || !ctype_xdigit($parts[0]) || strlen($parts[0]) % 2 !== 0 || !ctype_digit($parts[1]) || !preg_match('/^[0-9a-f]{64}$/D', $parts[2])) {
        return null;
    }
    $secret = trim((string) file_get_contents('/var/lib/casemate/keys/wordpress/' . getenv('WORDPRESS_CONFIG')));
    $signature = hash_hmac('sha256', "casemate-login:$parts[0].$parts[1].$parts[2]", $secret);
    if (strlen($secret) < 64 || !hash_equals($signature, $parts[3]) || (int) $parts[1] < time()) {
        return null;
    }
    return get_user_by('login', hex2bin($parts[0])) ?: null;
}

/** Remembers a link's number until its end; false when it was there. One statement, so two at once cannot both be first. */
function casemate_link_use(string $token): bool
{
    global $wpdb;
    [, $until, $number] = explode('.', $token);
    $name = 'casemate_login_' . substr($number, 0, 32);
    $insert = "INSERT IGNORE INTO $wpdb->options (option_name, option_value, autoload) VALUES (%s, %s, 'off')";
    $first = $wpdb->query($wpdb->prepare($insert, "_transient_$name", '1')) === 1;
    $wpdb->query($wpdb->prepare($insert, "_transient_timeout_$name", $until));
    return $first;
}

// Updates come with the image; nothing is offered that cannot be done.
add_filter('automatic_updater_disabled', '__return_true');
remove_action('init', 'wp_schedule_update_checks');
add_filter('pre_site_transient_update_core', static fn () => (object) ['last_checked' => time(), 'version_checked' => get_bloginfo('version'), 'updates' => []]);
