//! An editor's day: write a post in the block editor, upload a picture, read a comment. The editor's page speaks with the REST interface;
//! so does this.

use anyhow::{Context as _, Result, ensure};
use fs_err as fs;
use serde_json::Value;

use super::{SITE, Visitor};

const PICTURE: &[u8] = include_bytes!("picture.png");
const TEXT: &str = "<!-- wp:paragraph --><p>Written in the block editor.</p><!-- /wp:paragraph -->";

/// Somebody who is logged in, with what the browser would send along.
struct Editor<'a> {
    visitor: &'a Visitor<'a>,
    cookie: String,
    nonce: String,
}

impl Editor<'_> {
    /// A request to the REST interface that must make something; returns what was made.
    fn make(&self, path: &str, further: &[&str]) -> Result<Value> {
        let nonce = format!("X-WP-Nonce: {}", self.nonce);
        let arguments = [&["--cookie", &self.cookie, "--header", &nonce], further].concat();
        let answer = self.visitor.page(SITE, path, &arguments)?;
        ensure!(answer.status == 201, "`{path}` answers {}\n\n{}", answer.head, answer.body);
        serde_json::from_str(&answer.body).with_context(|| format!("`{path}` answers {}", answer.body))
    }

    fn look(&self, path: &str) -> Result<String> {
        let answer = self.visitor.page(SITE, path, &["--cookie", &self.cookie])?;
        ensure!(answer.status == 200, "`{path}` answers {}", answer.head);
        Ok(answer.body)
    }
}

impl Visitor<'_> {
    pub(super) fn edit(&self, dir: &std::path::Path) -> Result<()> {
        let cookie = self.log_in()?;
        let nonce = self.page(SITE, "/wp-admin/admin-ajax.php?action=rest-nonce", &["--cookie", &cookie])?.body;
        ensure!(nonce.len() == 10, "no nonce but {nonce}");
        let editor = Editor { visitor: self, cookie, nonce };
        ensure!(
            editor.look("/wp-admin/post-new.php")?.contains("block-editor-page"),
            "the editor is not the block editor"
        );

        fs::write(dir.join("picture.png"), PICTURE)?;
        let picture = editor.make(
            "/wp-json/wp/v2/media",
            &[
                "--header",
                "Content-Disposition: attachment; filename=picture.png",
                "--header",
                "Content-Type: image/png",
                "--data-binary",
                "@/run/client/picture.png",
            ],
        )?;
        let address = picture.get("source_url").and_then(Value::as_str).context("the picture has no address")?;
        let path = address.strip_prefix(&format!("https://{SITE}")).context("the picture is elsewhere")?;
        let shown = self.page(SITE, path, &[])?;
        ensure!(shown.status == 200 && shown.head.contains("image/png"), "the picture answers {}", shown.head);

        // As the editor's page sends it.
        editor.make(
            "/wp-json/wp/v2/media",
            &["--form", "file=@/run/client/picture.png;type=image/png", "--form", "title=At the sea"],
        )?;

        let post = serde_json::json!({ "title": "A day", "content": TEXT, "status": "publish", "featured_media": picture.get("id") });
        let post = editor.make("/wp-json/wp/v2/posts", &["--json", &post.to_string()])?;
        let (id, link) = (post.get("id").and_then(Value::as_u64), post.get("link").and_then(Value::as_str));
        let link =
            link.and_then(|link| link.strip_prefix(&format!("https://{SITE}"))).context("the post has no address")?;
        let read = self.page(SITE, link, &[])?;
        ensure!(
            read.status == 200 && read.body.contains("Written in the block editor."),
            "the post answers {}",
            read.head
        );
        self.comment(&editor, id.context("the post has no number")?)?;
        ensure!(
            self.page(SITE, "/wp-json/wp/v2/posts", &["--json", "{\"title\": \"x\"}"])?.status == 401,
            "anybody writes posts"
        );
        self.use_application_password(&editor)
    }

    /// A program of the editor's has a password of its own; a wrong one does not tell whether there is such a name.
    fn use_application_password(&self, editor: &Editor<'_>) -> Result<()> {
        const ME: &str = "/wp-json/wp/v2/users/me?context=edit";
        let made =
            editor.make("/wp-json/wp/v2/users/me/application-passwords", &["--json", "{\"name\": \"telephone\"}"])?;
        let password = made.get("password").and_then(Value::as_str).context("no password was made")?;
        let ask = |user: &str| self.page(SITE, ME, &["--user", user]);
        let good = ask(&format!("editor:{password}"))?;
        ensure!(
            good.status == 200 && good.body.contains("editor@example.org"),
            "the password is answered {}",
            good.head
        );
        let (wrong, unknown) = (ask("editor:abcd efgh ijkl mnop")?, ask("nobody:abcd efgh ijkl mnop")?);
        ensure!((wrong.status, unknown.status) == (401, 401), "a wrong password is answered {}", wrong.head);
        ensure!(wrong.body == unknown.body, "names are told: {} and {}", wrong.body, unknown.body);
        Ok(())
    }

    /// A visitor's comment waits for the editor.
    fn comment(&self, editor: &Editor<'_>, post: u64) -> Result<()> {
        let form = format!("comment_post_ID={post}&author=Visitor&email=visitor@example.net&comment=Well+written");
        let sent = self.page(SITE, "/wp-comments-post.php", &["--data", &form])?;
        ensure!(sent.status == 302, "the comment answers {}{}", sent.head, sent.body);
        let waiting = editor.look("/wp-admin/edit-comments.php?comment_status=moderated")?;
        ensure!(waiting.contains("Well written"), "the editor does not see the comment");
        Ok(())
    }
}
