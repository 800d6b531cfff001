//! Runs one function over a list on a few threads, the largest items first, and gives the results in the order of the list.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Calls `work` for each position of `sizes`; the first error by position is returned and ends the run soon.
pub fn for_each_largest_first<T: Send, E: Send>(
    sizes: &[u64],
    jobs: NonZeroUsize,
    work: impl Fn(usize) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(sizes.get(*at).copied()));
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let results: Mutex<Vec<(usize, Result<T, E>)>> = Mutex::default();
    let worker = || {
        while !failed.load(Ordering::Relaxed) {
            let Some(at) = order.get(next.fetch_add(1, Ordering::Relaxed)).copied() else {
                break;
            };
            let result = work(at);
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            results.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
        }
    };
    std::thread::scope(|scope| {
        (0..jobs.get().min(sizes.len())).for_each(|_| {
            scope.spawn(worker);
        });
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_results_in_order_and_takes_the_largest_first() {
        let seen = Mutex::new(Vec::new());
        let results: Result<Vec<usize>, ()> = for_each_largest_first(&[1, 9, 5], NonZeroUsize::MIN, |at| {
            seen.lock().unwrap().push(at);
            Ok(at * 10)
        });
        assert_eq!(results.unwrap(), [0, 10, 20]);
        assert_eq!(*seen.lock().unwrap(), [1, 2, 0]);
    }

    #[test]
    fn ends_with_an_error_of_the_list() {
        let jobs = NonZeroUsize::new(3).unwrap();
        let result: Result<Vec<()>, usize> =
            for_each_largest_first(&[1; 50], jobs, |at| if at == 7 { Err(at) } else { Ok(()) });
        assert_eq!(result, Err(7));
    }
}
