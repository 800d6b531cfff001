//! Which of the documents that were found is the one: a pure function.
//!
//! A document counts if its signature is good, it has no mistakes, it is meant for this host and its serial is not lower than
//! the highest ever accepted. Of those that count the highest serial wins. Every other one is refused with its reason; a bad
//! document in one place never hides a good one in another.

use std::num::NonZeroUsize;

use bundle::Context;
use bundle::TrustedKeys;
use bundle::Verified;

use crate::source::Candidate;
use crate::source::Gathered;
use crate::source::Origin;
use crate::source::Refusal;

/// What the choice needs to know of a parsed document.
pub trait Document {
    /// Grows with each change.
    fn serial(&self) -> u64;
    /// The id it is meant for; none when it is meant for any host.
    fn host_id(&self) -> Option<&str>;
}

/// What decides.
#[derive(Debug)]
pub struct Rules<'a> {
    /// Who may sign.
    pub trusted: &'a TrustedKeys,
    /// The highest serial ever accepted.
    pub highest_serial: u64,
}

/// The document to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen<D> {
    /// As it was found.
    pub candidate: Candidate,
    /// As it was read.
    pub document: D,
}

/// The outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection<D> {
    /// The document to use, if one counts.
    pub chosen: Option<Chosen<D>>,
    /// Every source and document that is not used because something is wrong with it.
    pub refusals: Vec<Refusal>,
}

/// Chooses. `parse` gives the document or all its mistakes.
pub fn select<D: Document>(
    gathered: Gathered,
    rules: &Rules<'_>,
    parse: impl Fn(&Verified<Vec<u8>>) -> Result<D, Vec<String>>,
) -> Selection<D> {
    let Gathered { candidates, mut refusals, host_id } = gathered;
    let mut good: Vec<Chosen<D>> = Vec::new();
    for candidate in candidates {
        match judge(&candidate, rules, host_id.as_deref(), &parse) {
            Ok(document) => good.push(Chosen { candidate, document }),
            Err(reasons) => {
                refusals.extend(reasons.into_iter().map(|reason| Refusal { origin: candidate.origin, reason }));
            }
        }
    }
    let chosen = highest(&good).map(|at| good.swap_remove(at));
    if let Some(chosen) = &chosen {
        refusals.extend(good.iter().filter_map(|other| conflict(chosen, other)));
    }
    Selection { chosen, refusals }
}

fn judge<D: Document>(
    candidate: &Candidate,
    rules: &Rules<'_>,
    host_id: Option<&str>,
    parse: impl Fn(&Verified<Vec<u8>>) -> Result<D, Vec<String>>,
) -> Result<D, Vec<String>> {
    let signature = candidate.signature.as_deref().ok_or_else(|| {
        vec!["host.toml has no signature beside it: sign it with `casemate personalise` and put `host.toml.sig` in the same place".to_owned()]
    })?;
    let verified = bundle::verify(&candidate.document, signature, Context::Host, rules.trusted, NonZeroUsize::MIN)
        .map_err(|error| vec![format!("host.toml is not trusted: {error}")])?;
    let document = parse(&verified)?;
    check_host(document.host_id(), host_id)?;
    check_serial(document.serial(), rules.highest_serial)?;
    Ok(document)
}

fn check_host(wanted: Option<&str>, ours: Option<&str>) -> Result<(), Vec<String>> {
    match (wanted, ours) {
        (None, _) => Ok(()),
        (Some(wanted), Some(ours)) if wanted == ours => Ok(()),
        (Some(wanted), ours) => Err(vec![format!(
            "host.toml is for host `{wanted}`, and this host is `{}`: write host = \"any\", or the id into `/casemate/host-id` on the ESP",
            ours.unwrap_or("without an id")
        )]),
    }
}

fn check_serial(found: u64, highest: u64) -> Result<(), Vec<String>> {
    if highest <= found {
        return Ok(());
    }
    Err(vec![format!(
        "host.toml with serial {found} is older than {highest}, which this host has accepted: raise the serial and sign again"
    )])
}

/// The place of the highest serial; among equals the preferred origin.
fn highest<D: Document>(good: &[Chosen<D>]) -> Option<usize> {
    let rank = |chosen: &Chosen<D>| (chosen.document.serial(), std::cmp::Reverse(chosen.candidate.origin));
    (0..good.len()).max_by_key(|at| good.get(*at).map(rank))
}

/// Two different documents with one serial are a mistake of the operator that must not stay unseen.
fn conflict<D: Document>(chosen: &Chosen<D>, other: &Chosen<D>) -> Option<Refusal> {
    let serial = chosen.document.serial();
    if other.document.serial() != serial || other.candidate.document == chosen.candidate.document {
        return None;
    }
    let (used, origin): (Origin, Origin) = (chosen.candidate.origin, other.candidate.origin);
    Some(Refusal {
        origin,
        reason: format!(
            "host.toml differs from {used} and has the same serial {serial}: raise the serial and sign again"
        ),
    })
}

#[cfg(test)]
mod tests {
    use bundle::SigningKey;
    use bundle::sign;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Paper {
        serial: u64,
        host: Option<String>,
    }

    impl Document for Paper {
        fn serial(&self) -> u64 {
            self.serial
        }

        fn host_id(&self) -> Option<&str> {
            self.host.as_deref()
        }
    }

    /// `<serial> <host>`, or mistakes.
    fn parse(text: &Verified<Vec<u8>>) -> Result<Paper, Vec<String>> {
        let text = String::from_utf8_lossy(text).into_owned();
        let (serial, host) = text.split_once(' ').ok_or(vec!["line 1".to_owned(), "line 2".to_owned()])?;
        let host = host.split(' ').next().filter(|host| *host != "any").map(str::to_owned);
        Ok(Paper { serial: serial.parse().unwrap(), host })
    }

    fn key(number: u8) -> SigningKey {
        SigningKey::from_random(&[number; 32], "test").unwrap()
    }

    fn signed_by(number: u8, context: Context, origin: Origin, text: &str) -> Candidate {
        let envelope = sign(text.as_bytes(), context, &[&key(number)]);
        let signature = Some(envelope.to_json().into_bytes());
        Candidate { origin, document: text.as_bytes().to_vec(), signature }
    }

    fn good(origin: Origin, text: &str) -> Candidate {
        signed_by(1, Context::Host, origin, text)
    }

    fn choose(candidates: Vec<Candidate>, highest_serial: u64) -> Selection<Paper> {
        let trusted = TrustedKeys::new([key(1).public().clone()]);
        let gathered = Gathered { candidates, host_id: Some("web1".into()), ..Gathered::default() };
        select(gathered, &Rules { trusted: &trusted, highest_serial }, parse)
    }

    fn only_reason(selection: &Selection<Paper>) -> &str {
        assert_eq!(selection.chosen, None);
        assert_eq!(selection.refusals.len(), 1, "{:?}", selection.refusals);
        &selection.refusals[0].reason
    }

    #[test]
    fn takes_a_good_document() {
        let selection = choose(vec![good(Origin::Esp, "1 any")], 0);
        assert_eq!(selection.chosen.unwrap().document.serial, 1);
        assert_eq!(selection.refusals, []);
    }

    #[test]
    fn refuses_what_is_not_rightly_signed() {
        let unsigned = Candidate { signature: None, ..good(Origin::Esp, "1 any") };
        let changed = Candidate { document: b"2 any".to_vec(), ..good(Origin::Esp, "1 any") };
        let garbage = Candidate { signature: Some(b"{".to_vec()), ..good(Origin::Esp, "1 any") };
        let stranger = signed_by(2, Context::Host, Origin::Esp, "1 any");
        let other_kind = signed_by(1, Context::Manifest, Origin::Esp, "1 any");
        for (candidate, part) in [
            (unsigned, "no signature"),
            (changed, "does not fit"),
            (garbage, ""),
            (stranger, "trusted key"),
            (other_kind, "casemate/manifest"),
        ] {
            let selection = choose(vec![candidate], 0);
            assert!(only_reason(&selection).contains(part), "{selection:?}");
        }
    }

    #[test]
    fn refuses_a_document_for_another_host() {
        assert!(only_reason(&choose(vec![good(Origin::Esp, "1 web2")], 0)).contains("`web2`"));
        assert!(choose(vec![good(Origin::Esp, "1 web1")], 0).chosen.is_some());
    }

    #[test]
    fn a_host_without_an_id_takes_only_documents_for_any_host() {
        let trusted = TrustedKeys::new([key(1).public().clone()]);
        let gathered = Gathered { candidates: vec![good(Origin::Esp, "1 web1")], ..Gathered::default() };
        let selection = select(gathered, &Rules { trusted: &trusted, highest_serial: 0 }, parse);
        assert!(only_reason(&selection).contains("without an id"));
    }

    #[test]
    fn refuses_a_serial_below_the_highest() {
        assert!(only_reason(&choose(vec![good(Origin::Esp, "4 any")], 5)).contains("older than 5"));
        assert!(choose(vec![good(Origin::Esp, "5 any")], 5).chosen.is_some());
    }

    #[test]
    fn reports_all_mistakes_of_a_document() {
        let selection = choose(vec![good(Origin::Seed, "nonsense")], 0);
        let reasons: Vec<_> = selection.refusals.iter().map(ToString::to_string).collect();
        assert_eq!(reasons, ["from the seed volume: line 1", "from the seed volume: line 2"]);
    }

    #[test]
    fn the_highest_serial_wins_in_any_order() {
        for order in
            [[(Origin::Esp, "2 any"), (Origin::Seed, "3 any")], [(Origin::Esp, "3 any"), (Origin::Seed, "2 any")]]
        {
            let selection = choose(order.map(|(origin, text)| good(origin, text)).to_vec(), 0);
            assert_eq!(selection.chosen.unwrap().document.serial, 3);
            assert_eq!(selection.refusals, []);
        }
    }

    #[test]
    fn a_bad_document_does_not_hide_a_good_one() {
        let selection =
            choose(vec![signed_by(2, Context::Host, Origin::Esp, "9 any"), good(Origin::State, "1 any")], 1);
        assert_eq!(selection.chosen.unwrap().candidate.origin, Origin::State);
        assert_eq!(selection.refusals.len(), 1);
    }

    #[test]
    fn an_accepted_document_is_not_replaced_without_a_new_serial() {
        let selection = choose(vec![good(Origin::Esp, "1 any changed"), good(Origin::State, "1 any")], 1);
        assert_eq!(selection.chosen.unwrap().candidate.origin, Origin::State);
        assert!(selection.refusals[0].to_string().contains("same serial 1"), "{:?}", selection.refusals);
    }

    #[test]
    fn the_same_document_in_two_places_is_no_conflict() {
        let selection = choose(vec![good(Origin::Esp, "1 any"), good(Origin::State, "1 any")], 1);
        assert_eq!(selection.refusals, []);
    }

    #[test]
    fn nothing_found_is_nothing_chosen() {
        assert_eq!(choose(vec![], 0), Selection { chosen: None, refusals: vec![] });
    }
}
