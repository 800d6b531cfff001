<?php
// Does to its own database what `do` says, and tells what came of it as JSON.
declare(strict_types=1);

mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);

$id = basename(dirname($_SERVER['DOCUMENT_ROOT']));
$rows = 0;
$error = '';
try {
    $database = new mysqli('localhost', "$id-php", '', $id, 0, '/run/mysqld/mysqld.sock');
    switch ($_GET['do']) {
        case 'create':
            $database->query('CREATE TABLE much (number INT PRIMARY KEY AUTO_INCREMENT, content LONGBLOB) ENGINE=InnoDB');
            break;
        case 'fill':
            $until = microtime(true) + 60;
            $insert = $database->prepare('INSERT INTO much (content) VALUES (?)');
            while ($rows < 400 && microtime(true) < $until) {
                $insert->execute([random_bytes(1 << 20)]);
                $rows++;
                usleep(100000);
            }
            break;
        case 'write':
            $database->query("INSERT INTO much (content) VALUES ('one')");
            $rows = $database->affected_rows;
            break;
        case 'grow':
            $database->query('UPDATE much SET content = CONCAT(content, content)');
            break;
        case 'temporary':
            $database->query('CREATE TEMPORARY TABLE aside (content LONGBLOB)');
            break;
        case 'read':
            $rows = (int) $database->query('SELECT COUNT(*) FROM much')->fetch_column();
            break;
        case 'empty':
            $database->query('DELETE FROM much');
            $rows = $database->affected_rows;
            break;
    }
} catch (mysqli_sql_exception $exception) {
    $error = $exception->getMessage();
}
header('Content-Type: application/json');
echo json_encode(['rows' => $rows, 'error' => $error]);
