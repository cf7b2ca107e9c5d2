//! The swarm: days drawn from seeds, lived through and judged.

mod plan;
mod run;
mod shrink;

pub use plan::{Act, Manners, Plan, Ranges};
pub use run::{Verdict, run, tell};
pub use shrink::shrink;
