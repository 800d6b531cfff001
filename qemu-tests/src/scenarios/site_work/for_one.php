<?php
/* Plugin Name: For one */
// Does to a page what makes it one that not everybody may see.
add_action('wp_footer', static function (): void {
    switch (@file_get_contents('/var/lib/casemate/sites/site001/tmp/for-one')) {
        case 'cookie':
            setcookie('basket', '1');
            break;
        case 'header':
            header('Content-Security-Policy: default-src https:');
            break;
        case 'constant':
            define('DONOTCACHEPAGE', true);
            break;
        case 'change':
            clean_post_cache(1);
            break;
        case 'rival':
            // What a change does that another process makes meanwhile: this one forgets nothing at its end.
            casemate_pages_forget(CASEMATE_PAGES);
            break;
    }
});
