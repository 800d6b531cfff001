//! Which of two versions is the newer: the Version Format Specification (UAPI.10), by which systemd-boot sorts its entries.
//!
//! An update must agree with the boot loader on this, or the older slot is started after it.

use std::cmp::Ordering;

use crate::names::ImageVersion;

/// A version begins its segments with these; in this order they are looked for, and whoever has one is the older.
const SEPARATORS: [u8; 3] = [b'-', b'^', b'.'];

/// Compares two versions: `Less` if `left` is the older. Versions that differ as text may be equal (`1.0` and `1.00`).
pub fn compare(left: &ImageVersion, right: &ImageVersion) -> Ordering {
    compare_text(left.as_str(), right.as_str())
}

/// The same for any text; characters that no version has separate segments and count for nothing else.
pub fn compare_text(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (Rest(left.as_bytes()), Rest(right.as_bytes()));
    loop {
        left.skip_foreign();
        right.skip_foreign();
        // What leads to a version is older than the version, so this comes before the look for an end.
        let mut order = take_both(b'~', &mut left, &mut right);
        if order.is_eq() && (left.0.is_empty() || right.0.is_empty()) {
            return right.0.is_empty().cmp(&left.0.is_empty());
        }
        for separator in SEPARATORS {
            order = order.then_with(|| take_both(separator, &mut left, &mut right));
        }
        order = order.then_with(|| compare_segments(&mut left, &mut right));
        if order.is_ne() {
            return order;
        }
    }
}

/// What of a version is not compared yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn skip_foreign(&mut self) {
        self.take_while(|byte| !(byte.is_ascii_alphanumeric() || byte == b'~' || SEPARATORS.contains(&byte)));
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let length = self.0.iter().take_while(|byte| wanted(**byte)).count();
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn starts_with(&self, wanted: impl Fn(u8) -> bool) -> bool {
        self.0.first().is_some_and(|byte| wanted(*byte))
    }
}

/// Takes `mark` off both; whoever alone has it is the older.
fn take_both(mark: u8, left: &mut Rest<'_>, right: &mut Rest<'_>) -> Ordering {
    let has = |rest: &Rest<'_>| rest.starts_with(|byte| byte == mark);
    let order = has(right).cmp(&has(left));
    if order.is_eq() && has(left) {
        left.0 = left.0.get(1..).unwrap_or_default();
        right.0 = right.0.get(1..).unwrap_or_default();
    }
    order
}

/// Numbers by value, letters by their order; a number is newer than letters or nothing.
fn compare_segments(left: &mut Rest<'_>, right: &mut Rest<'_>) -> Ordering {
    let is_digit = |byte: u8| byte.is_ascii_digit();
    if left.starts_with(is_digit) || right.starts_with(is_digit) {
        let (left, right) = (left.take_while(is_digit), right.take_while(is_digit));
        let value = |digits: &'_ [u8]| digits.iter().position(|byte| *byte != b'0').unwrap_or(digits.len());
        let (left_value, right_value) = (&left[value(left)..], &right[value(right)..]);
        return right.is_empty().cmp(&left.is_empty()).then_with(|| {
            // Without leading zeros the longer number is the larger.
            left_value.len().cmp(&right_value.len()).then_with(|| left_value.cmp(right_value))
        });
    }
    let is_letter = |byte: u8| byte.is_ascii_alphabetic();
    left.take_while(is_letter).cmp(right.take_while(is_letter))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// From old to new; what stands in one row is equal.
    const ORDERED: &[&[&str]] = &[
        &["~"],
        // As systemd has it: behind one tilde the other one is something more.
        &["~~"],
        &[""],
        &["a", "_a"],
        &["0", "00"],
        &["0.1.0~rc1"],
        &["0.1.0~rc2"],
        &["0.1.0~rc10"],
        &["0.1.0", "0.01.0", "0.1.00"],
        &["0.1.0-a"],
        &["0.1.0-1"],
        &["0.1.0-1.1"],
        &["0.1.0^post1"],
        &["0.1.0.a"],
        &["0.1.0.1"],
        &["0.1.0a"],
        &["0.1.1"],
        &["0.1.9"],
        &["0.1.10"],
        &["0.2"],
        &["1"],
        &["1.0"],
        &["99999999999999999999998"],
        &["99999999999999999999999"],
    ];

    #[test]
    fn older_versions_come_first_and_each_is_compared_with_each() {
        for (place, row) in ORDERED.iter().enumerate() {
            for (other_place, other_row) in ORDERED.iter().enumerate() {
                for (left, right) in row.iter().flat_map(|left| other_row.iter().map(move |right| (left, right))) {
                    assert_eq!(compare_text(left, right), place.cmp(&other_place), "{left:?} and {right:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_an_order_of_whatever_text(left in "[0-9a-c.~^_-]{0,9}", middle in "[0-9a-c.~^_-]{0,9}", right in "[0-9a-c.~^_-]{0,9}") {
            prop_assert_eq!(compare_text(&left, &left), Ordering::Equal);
            prop_assert_eq!(compare_text(&left, &right), compare_text(&right, &left).reverse());
            if compare_text(&left, &middle) == compare_text(&middle, &right) {
                prop_assert_eq!(compare_text(&left, &right), compare_text(&left, &middle));
            }
        }
    }
}
