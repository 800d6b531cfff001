//! The web application firewall of a site: `waf` and `[[domain.site.waf_exclusion]]` of `host.toml`.

use std::str::FromStr;

use serde::Serialize;

use crate::document::Section;
use crate::names::{ValueError, text_type};
use crate::overlay_rows::words;

/// Numbers of rules that may be left out: those of rule sets. What watches over the reading of requests itself is below.
const RULES: std::ops::RangeInclusive<u32> = 900_000..=9_999_999;
/// Longest path or name of an argument.
const LONGEST: usize = 200;

words!(
    /// What is done with requests that look like attacks.
    WafMode, "what the WAF does", /// They are refused.
    Block = "block", /// They are written to the journal and answered.
    Learn = "learn", /// Nobody looks at them.
    Off = "off"
);

/// The web application firewall of one site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waf {
    /// What it does.
    pub mode: WafMode,
    /// What it overlooks.
    pub exclusions: Vec<WafExclusion>,
}

/// Rules that this site is not measured by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WafExclusion {
    /// Which.
    pub rule: WafRule,
    /// Only for this path and all that begins with it; absent: everywhere.
    pub path: Option<WafPath>,
    /// Only what this argument holds; absent: the whole request.
    pub argument: Option<WafArgument>,
}

/// A rule's number, or the first and the last of several: `942100`, `941100-941199`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WafRule(String);

text_type!(WafRule);

impl FromStr for WafRule {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let number = |text: &str| -> Option<u32> {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|number| digits && RULES.contains(number))
        };
        let is_right = match text.split_once('-') {
            Some((first, last)) => number(first).zip(number(last)).is_some_and(|(first, last)| first < last),
            None => number(text).is_some(),
        };
        if is_right {
            return Ok(Self(text.to_owned()));
        }
        Err(ValueError::new(
            text,
            "the number of a rule as the journal shows it, such as `942100`, or a range such as `941100-941199`",
        ))
    }
}

/// The beginning of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WafPath(String);

text_type!(WafPath);

impl FromStr for WafPath {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
        if text.starts_with('/') && text.len() <= LONGEST && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(ValueError::new(text, "a path: it starts with `/` and holds letters, digits and `/-._~`"))
    }
}

/// The name of a form's field, of a query's or of a JSON document's (`json.content`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WafArgument(String);

text_type!(WafArgument);

impl FromStr for WafArgument {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        // Quotes, commas and bars are the rule language's own.
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]".contains(&byte);
        if !text.is_empty() && text.len() <= LONGEST && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(ValueError::new(text, "the name of an argument: letters, digits and `-._[]`"))
    }
}

/// Reads both; what is not said is as usual.
pub(crate) fn read_waf(site: &Section<'_, '_>) -> Option<Waf> {
    let mode = if site.has("waf") { site.text("waf") } else { Some(WafMode::Block) };
    let exclusions = site.sections("waf_exclusion");
    let exclusions = exclusions.iter().filter_map(|section| {
        section.allow(&["rule", "path", "argument"]);
        let (path, argument) = (section.optional_text("path"), section.optional_text("argument"));
        Some(WafExclusion { rule: section.text("rule")?, path, argument })
    });
    let exclusions = exclusions.collect();
    Some(Waf { mode: mode?, exclusions })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostConfig;
    use crate::sample::SMALL_HOST;

    #[test]
    fn rules_are_numbers_of_rule_sets() {
        for good in ["942100", "941100-941199", "9508000-9508999"] {
            assert!(good.parse::<WafRule>().is_ok(), "{good}");
        }
        for bad in ["", "42", "200002", "942100-942100", "942200-942100", "942100-", "+942100", "942100;ARGS", "all"] {
            assert!(bad.parse::<WafRule>().is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_ends_the_rule_that_it_stands_in() {
        for bad in ["content|ARGS", "a,b", "a\"b", "a'b", "a b", "%{ENV.X}", ""] {
            assert!(bad.parse::<WafArgument>().is_err(), "{bad}");
            assert!(format!("/{bad}\"").parse::<WafPath>().is_err(), "{bad}");
        }
        assert!("/wp-json/wp/v2/posts".parse::<WafPath>().is_ok());
        assert!("json.content".parse::<WafArgument>().is_ok() && "meta[title]".parse::<WafArgument>().is_ok());
    }

    #[test]
    fn a_site_is_guarded_unless_its_document_says_otherwise() {
        let site = |more: &str| {
            HostConfig::parse("host.toml", &format!("{SMALL_HOST}{more}"))
                .map(|host| host.sites().next().unwrap().waf.clone())
        };
        assert_eq!(site("").unwrap(), Waf { mode: WafMode::Block, exclusions: Vec::new() });
        let learning =
            site("waf = \"learn\"\n[[domain.site.waf_exclusion]]\nrule = \"942100\"\npath = \"/shop/\"\n").unwrap();
        assert_eq!(learning.mode, WafMode::Learn);
        assert_eq!(learning.exclusions[0].path.as_ref().unwrap().as_str(), "/shop/");
        let refused = site("waf = \"on\"\n[[domain.site.waf_exclusion]]\npath = \"/\"\n").unwrap_err().to_string();
        assert!(refused.contains("`block`, `learn`, `off`") && refused.contains("`rule`"), "{refused}");
    }
}
