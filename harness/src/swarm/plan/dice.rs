//! How things are drawn.

use carillon_core::rng::Rng;
use carillon_core::time::Span;

use super::super::profile::Range;

/// Ahead or behind.
pub(super) fn sign(rng: &mut Rng, range: &Range) -> i64 {
    let number = range.draw(rng) as i64;
    if rng.chance(1, 2) { number } else { -number }
}

/// In so many of a hundred cases.
pub(in super::super) fn chance(rng: &mut Rng, percent: &Range) -> bool {
    let percent = percent.draw(rng);
    rng.chance(percent, 100)
}

pub(in super::super) fn below(rng: &mut Rng, span: Span) -> Span {
    Span(rng.below(span.0.max(1)))
}

pub(in super::super) fn pick<T: Clone>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.below(of.len() as u64) as usize].clone()
}
