//! Which known word somebody may have meant: edit distance with swapped neighbours as one step.

/// Longer words are not compared: nobody mistypes 64 characters of a key.
const LONGEST: usize = 64;

/// The nearest of `known`, when it is near enough: one step, or one for every three characters.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let length = word.chars().count();
    if length > LONGEST {
        return None;
    }
    let (steps, best) = known.iter().map(|&candidate| (distance(word, candidate), candidate)).min()?;
    (steps <= (length / 3).max(1)).then_some(best)
}

fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, letter) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, other) in right.iter().enumerate() {
            let replaced = above[column] + usize::from(letter != other);
            let mut steps = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0 && column > 0 && left[row - 1] == *other && right[column - 1] == *letter;
            if swapped {
                steps = steps.min(before[column - 1] + 1);
            }
            current.push(steps);
        }
        before = std::mem::replace(&mut above, current);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant_and_nothing_else() {
        let known = ["address", "gateway", "dns"];
        assert_eq!(nearest("adress", &known), Some("address"));
        assert_eq!(nearest("gatewya", &known), Some("gateway"));
        assert_eq!(nearest("dn", &known), Some("dns"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest("", &[]), None);
    }
}
