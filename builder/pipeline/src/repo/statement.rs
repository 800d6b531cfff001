//! The statement of what is newest in a channel: read as a host would, and written as one file.

use anyhow::{Context as _, Result};
use bundle::{
    Accepted, Clock, Context, ImageName, Judge, Newest, SigningKey, TrustRoot, read_newest, sign, write_newest,
};
use fs_err as fs;
use tools::{ResultExt as _, failure::HintExt as _};

use super::{Repository, make_folder};

impl Repository {
    /// Reads and judges the statement of a channel.
    pub(super) fn judge(&self, channel: &ImageName, root: &TrustRoot, clock: Clock) -> Result<Accepted> {
        let path = self.newest(channel);
        let (statement, envelope) =
            read_newest(fs::File::open(&path)?).with_context(|| format!("cannot use `{}`", path.display()))?;
        let judge = Judge { root, channel, seen: None, clock };
        judge.accept(&statement, &envelope).with_context(|| format!("`{}` is not good", path.display()))
    }

    /// The last statement of a channel, whether it has ended or not. After an exchange of keys it is one of an earlier
    /// trust root.
    pub(super) fn last_statement(&self, channel: &ImageName, roots: &[TrustRoot]) -> Result<Option<Newest>> {
        if !self.newest(channel).exists() {
            return Ok(None);
        }
        let mut refusal = None;
        for root in roots.iter().rev() {
            match self.judge(channel, root, Clock::Unproven) {
                Ok(accepted) => return Ok(Some(accepted.newest.into_inner())),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        let hint = "lay the last good one there again: without its number hosts refuse what follows (`--sequence`)";
        refusal.map_or(Ok(None), |error| Err(error).or_refuse(hint))
    }

    /// Signs a statement, looks at it as a host would, and puts it in the place of the last one.
    pub(super) fn write_statement(&self, newest: &Newest, root: &TrustRoot, keys: &[SigningKey]) -> Result<()> {
        let statement = newest.to_json().or_refuse("name another term with `--expires-in`, or another floor")?;
        let keys: Vec<&SigningKey> = keys.iter().collect();
        let envelope = sign(statement.as_bytes(), Context::Newest, &keys).to_json();
        let judge = Judge { root, channel: &newest.channel, seen: None, clock: Clock::Synchronised(newest.issued) };
        judge
            .accept(statement.as_bytes(), envelope.as_bytes())
            .context("no host would believe this statement")
            .or_refuse("sign with the release keys of the last trust root: `--key FILE`, once for each")?;
        let mut file = Vec::new();
        write_newest(&mut file, statement.as_bytes(), envelope.as_bytes())?;
        make_folder(&self.dir.join(newest.channel.as_str()))?;
        tools::write_atomic(&self.newest(&newest.channel), &file, 0o644).remedied()
    }
}
