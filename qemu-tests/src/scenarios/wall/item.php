<?php
// A shop as it must not be written: what was asked for becomes part of a statement.
declare(strict_types=1);

mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
$id = basename(dirname($_SERVER['DOCUMENT_ROOT']));
$database = new mysqli('localhost', "$id-php", '', $id, 0, '/run/mysqld/mysqld.sock');
if (isset($_GET['make'])) {
    $database->query('CREATE TABLE items (id INT PRIMARY KEY, name VARCHAR(40))');
    $database->query("INSERT INTO items VALUES (1, 'lantern'), (2, 'rope')");
    $database->query('CREATE TABLE customers (id INT PRIMARY KEY, card VARCHAR(40))');
    $database->query("INSERT INTO customers VALUES (1, '4929-SECRET-CARD')");
    exit('made');
}
try {
    $rows = $database->query("SELECT name FROM items WHERE id = {$_GET['id']}")->fetch_all(MYSQLI_ASSOC);
    echo '<title>Shop</title>', $rows ? implode(', ', array_column($rows, 'name')) : 'nothing found';
} catch (mysqli_sql_exception $exception) {
    echo '<title>Shop</title>', $exception->getMessage();
}
