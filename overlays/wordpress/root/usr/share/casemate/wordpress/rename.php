<?php
/**
 * Changes addresses of other names into addresses of this site, in all texts of its database; the agent asks for it after a copy.
 *
 * CASEMATE_FROM: names, separated by blanks. CASEMATE_TO: this site's name. CASEMATE_CURSOR: where the last call stopped, empty at first.
 * Answers {"changed": values, "next": cursor or null}. Values that PHP has serialized hold the length of each text: they are read and
 * written part by part, and nothing in them is ever made into an object.
 */

declare(strict_types=1);

const ROWS = 500;
const SECONDS = 20;

http_response_code(500);
header('Content-Type: text/plain');
set_time_limit(120);
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);

$id = (string) getenv('WORDPRESS_CONFIG');
$names = array_map(static fn (string $name): string => preg_quote($name, '#'), preg_split('/ +/', (string) $_SERVER['CASEMATE_FROM'], -1, PREG_SPLIT_NO_EMPTY));
// `//name` and, as JSON writes it, `\/\/name`; not a longer name that begins so.
define('OLD', '#((?:\\\\?/){2})(?:' . implode('|', $names) . ')(?![\w-]|\.\w)#i');
define('NEW_NAME', (string) $_SERVER['CASEMATE_TO']);

/** The text with new addresses; a serialized value stays one. */
function renamed(string $text): string
{
    if (!preg_match(OLD, $text)) {
        return $text;
    }
    if (preg_match('/^(?:[aOsC]:\d+:|[bidN][:;])/', $text)) {
        try {
            $at = 0;
            $new = value($text, $at);
            if ($at === strlen($text)) {
                return $new;
            }
        } catch (UnexpectedValueException) {
            // It only looks like one.
        }
    }
    return preg_replace(OLD, '${1}' . NEW_NAME, $text) ?? $text;
}

/** One serialized value from $at on, with new addresses in its texts. */
function value(string $text, int &$at): string
{
    $kind = $text[$at] ?? '';
    return match ($kind) {
        'N', 'b', 'i', 'd', 'r', 'R' => through($text, $at, ';'),
        's' => text($text, $at),
        'a' => through($text, $at, '{') . values($text, $at),
        'O' => 'O:' . named($text, $at) . through($text, $at, '{') . values($text, $at),
        'E' => 'E:' . named($text, $at) . through($text, $at, ';'),
        // A class's own format: whoever changed it could break it.
        default => throw new UnexpectedValueException("`$kind` at $at"),
    };
}

/** Values up to the closing brace. */
function values(string $text, int &$at): string
{
    $all = '';
    while (($text[$at] ?? '') !== '}') {
        $all .= value($text, $at);
    }
    $at++;
    return $all . '}';
}

/** A text with its length; it may be a serialized value itself. */
function text(string $text, int &$at): string
{
    $at += 2;
    $inner = renamed(quoted($text, $at));
    if (($text[$at] ?? '') !== ';') {
        throw new UnexpectedValueException("no end at $at");
    }
    $at++;
    return 's:' . strlen($inner) . ':"' . $inner . '";';
}

/** The name of a class with its length, as it is. */
function named(string $text, int &$at): string
{
    $at += 2;
    $name = quoted($text, $at);
    return strlen($name) . ':"' . $name . '"';
}

/** What stands in quotes after its length. */
function quoted(string $text, int &$at): string
{
    if (!preg_match('/\G(\d+):"/', $text, $found, 0, $at)) {
        throw new UnexpectedValueException("no length at $at");
    }
    $start = $at + strlen($found[0]);
    $length = (int) $found[1];
    if (($text[$start + $length] ?? '') !== '"') {
        throw new UnexpectedValueException("wrong length at $at");
    }
    $at = $start + $length + 1;
    return substr($text, $start, $length);
}

/** Everything up to and with a mark. */
function through(string $text, int &$at, string $mark): string
{
    $end = strpos($text, $mark, $at);
    if ($end === false) {
        throw new UnexpectedValueException("no `$mark` after $at");
    }
    $part = substr($text, $at, $end + 1 - $at);
    $at = $end + 1;
    return $part;
}

$database = new mysqli('localhost', "$id-php", '', $id, 0, '/run/mysqld/mysqld.sock');
$database->set_charset('utf8mb4');
$tables = array_column($database->query("SHOW FULL TABLES WHERE Table_type = 'BASE TABLE'")->fetch_all(), 0);
sort($tables);
[$table, $offset] = explode(':', (string) $_SERVER['CASEMATE_CURSOR'] . ':0') + [0 => '', 1 => '0'];
$place = $table === '' ? 0 : (int) array_search($table, $tables, true);
$offset = (int) $offset;
$changed = 0;
$end = time() + SECONDS;
$quoted = static fn (string $name): string => '`' . str_replace('`', '``', $name) . '`';

while ($place < count($tables) && time() < $end) {
    $name = $quoted($tables[$place]);
    $columns = $database->query("SHOW COLUMNS FROM $name")->fetch_all(MYSQLI_ASSOC);
    $keys = array_column(array_filter($columns, static fn (array $column): bool => $column['Key'] === 'PRI'), 'Field');
    $texts = array_column(array_filter($columns, static fn (array $column): bool => (bool) preg_match('/char|text|json/i', $column['Type'])), 'Field');
    $texts = array_diff($texts, $keys);
    $rows = $keys === [] || $texts === [] ? [] : $database->query(
        'SELECT ' . implode(', ', array_map($quoted, array_merge($keys, $texts))) . " FROM $name ORDER BY " . implode(', ', array_map($quoted, $keys)) . ' LIMIT ' . ROWS . " OFFSET $offset"
    )->fetch_all(MYSQLI_ASSOC);
    foreach ($rows as $row) {
        $new = [];
        foreach ($texts as $column) {
            if (is_string($row[$column]) && ($value = renamed($row[$column])) !== $row[$column]) {
                $new[$column] = $value;
            }
        }
        if ($new !== []) {
            $set = implode(', ', array_map(static fn (string $column): string => $quoted($column) . ' = ?', array_keys($new)));
            $where = implode(' AND ', array_map(static fn (string $key): string => $quoted($key) . ' = ?', $keys));
            $database->execute_query("UPDATE $name SET $set WHERE $where", array_merge(array_values($new), array_map(static fn (string $key) => $row[$key], $keys)));
            $changed += count($new);
        }
    }
    if (count($rows) < ROWS) {
        $place++;
        $offset = 0;
    } else {
        $offset += ROWS;
    }
}

http_response_code(200);
echo json_encode(['changed' => $changed, 'next' => $place < count($tables) ? "{$tables[$place]}:$offset" : null], JSON_THROW_ON_ERROR);
