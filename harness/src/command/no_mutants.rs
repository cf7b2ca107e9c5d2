//! `harness mutants` in a build that makes no mistakes, or that ends with the first: a broken invariant, which is how many
//! a mistake shows, ends a release build.

use std::ops::Range;
use std::process::ExitCode;

use carillon_harness::swarm::Profile;

use super::Days;

/// Says how to build one that does.
pub(crate) fn mutants(
    _seeds: Range<u64>,
    _jobs: usize,
    _only: &str,
    _days: &Days,
    _profile: &Profile,
) -> ExitCode {
    println!(
        "This build makes no mistakes, or ends with the first. To plant some: cargo run -p carillon-harness --features \
         planted --bin harness -- mutants (not with --release)"
    );
    ExitCode::FAILURE
}
