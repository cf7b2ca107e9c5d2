//! Makes a failing plan small.

use super::plan::Plan;
use super::run::{Verdict, run};

/// Takes away whatever the failure does not need: halves, quarters, … of what happens, then single things; users; phones.
/// Tries at most `runs_max` plans. Returns the smallest that still fails, with its verdict; `None` if `plan` is fine.
pub fn shrink(
    plan: &Plan,
    runs_max: usize,
    mut progress: impl FnMut(usize, &Plan),
) -> Option<(Plan, Verdict)> {
    let mut best = plan.clone();
    let mut verdict = fails(&best)?;
    let mut runs = 1;
    let mut piece = best.acts.len().div_ceil(2).max(1);
    while runs < runs_max {
        let mut at = 0;
        let mut smaller = false;
        while at < best.acts.len() && runs < runs_max {
            let mut tried = best.clone();
            tried.acts.drain(at..(at + piece).min(best.acts.len()));
            runs += 1;
            match fails(&tried) {
                Some(found) => {
                    (best, verdict, smaller) = (tried, found, true);
                    progress(runs, &best);
                }
                None => at += piece,
            }
        }
        if piece == 1 && !smaller {
            break;
        }
        piece = (piece / 2).max(1);
    }
    for change in [
        (|plan: &mut Plan| plan.phones = 1) as fn(&mut Plan),
        |plan| plan.shards = 1,
        |plan| plan.back_ends = 1,
        |plan| plan.fragment_bytes_max = None,
        |plan| plan.users = plan.users.div_ceil(2),
        |plan| plan.users = plan.users.div_ceil(2),
        |plan| plan.users = plan.users.saturating_sub(1).max(1),
    ] {
        let mut tried = best.clone();
        change(&mut tried);
        if let Some(found) = fails(&tried) {
            (best, verdict) = (tried, found);
        }
    }
    Some((best, verdict))
}

fn fails(plan: &Plan) -> Option<Verdict> {
    // A broken invariant is a panic in the middle of the run: the plan that brings it about is what we look for.
    let lived = std::panic::catch_unwind(|| run(plan));
    match lived {
        Ok(verdict) if verdict.failures.is_empty() => None,
        Ok(verdict) => Some(verdict),
        Err(panic) => Some(Verdict::of_panic(panic.as_ref())),
    }
}
