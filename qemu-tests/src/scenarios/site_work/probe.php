<?php
// A file of the site's owner, put there by SFTP: it remembers addresses in each way that WordPress keeps them, and shows what it finds.
require '/usr/share/wordpress/wp-load.php';
header('Content-Type: application/json');
if (($_GET['do'] ?? '') === 'keep') {
    $address = 'https://www.example.org/a';
    update_option('probe', [
        'plain' => $address,
        'nested' => serialize(['ü' => $address, 'object' => new ArrayObject([$address])]),
        'json' => wp_json_encode(['address' => 'https://example.org/b']),
        'other' => 'https://www.example.org.example.net/ and https://www.example.organic/',
    ]);
    wp_insert_post(['post_title' => 'Kept', 'post_content' => $address, 'post_status' => 'publish']);
    // What is over, and the plan to clear it away.
    update_option('_transient_probe', 'over');
    update_option('_transient_timeout_probe', time() - 10);
    wp_schedule_single_event(time() - 1, 'delete_expired_transients');
}
if (($_GET['do'] ?? '') === 'comment') {
    [$newest] = get_posts(['numberposts' => 1, 'orderby' => 'ID', 'order' => 'DESC']);
    wp_insert_comment(['comment_post_ID' => $newest->ID, 'comment_content' => 'Seen by all', 'comment_author' => 'Somebody', 'comment_approved' => 1]);
}
if (($_GET['do'] ?? '') === 'activate') {
    update_option('active_plugins', [$_GET['plugin']]);
}
$posts = get_posts(['title' => 'Kept']);
$kept = get_option('probe');
echo json_encode([
    'plain' => $kept['plain'] ?? null,
    'nested' => isset($kept['nested']) ? (unserialize($kept['nested'], ['allowed_classes' => false])['ü'] ?? null) : null,
    'json' => $kept['json'] ?? null,
    'other' => $kept['other'] ?? null,
    'cleared' => get_option('_transient_probe') === false,
    'content' => $posts[0]->post_content ?? null,
    'writes' => @file_put_contents(WP_CONTENT_DIR . '/uploads/written.txt', 'x') === 1,
], JSON_UNESCAPED_SLASHES);
