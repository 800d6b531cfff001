<?php
// A file of the site's owner: it does what somebody in wp-admin does, or somebody with the database, and shows what became of it.
require '/usr/share/wordpress/wp-load.php';
header('Content-Type: application/json');
switch ($_GET['do'] ?? '') {
    case 'activate':
        update_option('active_plugins', ['good/good.php']);
        update_option('good_data', 'kept');
        break;
    case 'hostile':
        // Where the theme of before was.
        delete_option('template_root');
        delete_option('stylesheet_root');
        update_option('active_plugins', ['good/good.php', 'hostile/hostile.php']);
        update_option('template', 'hostile');
        update_option('stylesheet', 'hostile');
        break;
    case 'theme':
        switch_theme((string) ($_GET['name'] ?? ''));
        break;
    case 'uploaded':
        // A theme with the name of the image's own, where visitors can write.
        $place = WP_CONTENT_DIR . '/uploads/twentytwentyfive';
        wp_mkdir_p($place);
        foreach (['style.css', 'index.php', 'functions.php'] as $name) {
            copy(WP_CONTENT_DIR . "/themes/hostile/$name", "$place/$name");
        }
        foreach (['template', 'stylesheet'] as $name) {
            update_option($name, 'twentytwentyfive');
            update_option("{$name}_root", '/uploads');
        }
        break;
    case 'ask':
        file_put_contents(WP_TEMP_DIR . '/casemate-request.json', wp_unslash((string) ($_GET['content'] ?? '')));
        break;
}
$note = get_option('casemate_note');
echo json_encode([
    'note' => is_array($note) ? $note['text'] : null,
    'data' => get_option('good_data') ?: null,
    'writes' => @file_put_contents(WP_PLUGIN_DIR . '/good/good.php', ' ', FILE_APPEND) !== false
        || @file_put_contents(WP_PLUGIN_DIR . '/new.php', ' ') !== false,
    // Makes the month's folder.
    'uploads' => wp_upload_dir()['error'] ?: null,
    'reaches' => @stream_socket_client('unix:///run/php-owner/site001.sock') !== false,
]);
