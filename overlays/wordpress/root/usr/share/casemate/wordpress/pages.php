<?php
/**
 * Pages kept as files for visitors without a name, so that Apache answers them without PHP: `<place>/<path>/index.html`, and the same
 * compressed. Used by must-use plugin, planned work and installation.
 *
 * A page that was begun before a change must not be kept after it. Whoever makes one remembers the mark; every change makes another mark
 * before it removes what is there.
 */

declare(strict_types=1);

/** The longest time for which a page is kept, in seconds. */
const CASEMATE_PAGES_LIFE = 3600;

function casemate_pages_mark(string $place): string
{
    return (string) @file_get_contents("$place/.mark");
}

/** The mark under which a page begins; the agent takes it away, and then there is another. */
function casemate_pages_begin(string $place): string
{
    if (casemate_pages_mark($place) === '') {
        casemate_pages_write("$place/.mark", bin2hex(random_bytes(8)));
    }
    return casemate_pages_mark($place);
}

/** Forgets all pages. */
function casemate_pages_forget(string $place): void
{
    // Where there is no room for another, none is as good.
    @unlink("$place/.mark");
    casemate_pages_write("$place/.mark", bin2hex(random_bytes(8)));
    casemate_pages_remove($place, PHP_INT_MAX);
}

/** Forgets those that were made too long ago. */
function casemate_pages_expire(string $place): void
{
    casemate_pages_remove($place, time() - CASEMATE_PAGES_LIFE);
}

function casemate_pages_remove(string $folder, int $before): void
{
    foreach (@scandir($folder) ?: [] as $name) {
        $path = "$folder/$name";
        if ($name === '.' || $name === '..' || $name === '.mark') {
            continue;
        }
        if (is_dir($path) && !is_link($path)) {
            casemate_pages_remove($path, $before);
            // Somebody may be keeping a page there: then it stays.
            @rmdir($path);
        } elseif ((int) @filemtime($path) < $before || (int) @filemtime($path) > time() + 60) {
            @unlink($path);
        }
    }
}

/** Keeps a page that was begun under this mark. */
function casemate_pages_keep(string $place, string $folder, string $mark, string $page): void
{
    if ($mark === '' || casemate_pages_mark($place) !== $mark || (!is_dir($folder) && !@mkdir($folder, 0750, true))) {
        return;
    }
    $files = ["$folder/index.html.gz" => (string) gzencode($page, 6), "$folder/index.html" => $page];
    foreach ($files as $path => $bytes) {
        casemate_pages_write($path, $bytes);
    }
    // A change meanwhile has removed what it found; this may have come after it.
    if (casemate_pages_mark($place) !== $mark) {
        array_map(static fn (string $path): bool => @unlink($path), array_keys($files));
    }
}

/** The file is there whole or not at all. */
function casemate_pages_write(string $path, string $bytes): void
{
    $new = @tempnam(dirname($path), '.new');
    if ($new === false || dirname($new) !== dirname($path)) {
        // PHP takes another place where it cannot write there.
        $new === false || @unlink($new);
        return;
    }
    // Apache reads them by the site's group.
    if (@file_put_contents($new, $bytes) !== strlen($bytes) || !chmod($new, 0640) || !rename($new, $path)) {
        @unlink($new);
    }
}
