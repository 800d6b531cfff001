<?php
// Keeps count of every request that reaches PHP.
file_put_contents(dirname($_SERVER['DOCUMENT_ROOT']) . '/tmp/seen', "one\n", FILE_APPEND | LOCK_EX);
echo 'PHP has seen it';
