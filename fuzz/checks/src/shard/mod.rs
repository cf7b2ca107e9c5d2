//! A whole shard, with a shell, an Exchange and an APNs that do what the script says. Input: one-byte steps with their
//! arguments ([`script`]).

mod exchange;
mod link;
mod rig;
mod script;

use crate::input::Input;
use rig::Rig;

/// After each step: the ledger balances, the gauges are those of a plain model, effects make sense, output is bounded,
/// and the shard comes to rest. At the end everybody leaves, and nothing is left over.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let mut rig = Rig::new(&mut input);
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        script::step(&mut rig, &mut input);
        rig.settle();
    }
    rig.everybody_leaves();
}

const STEPS_MAX: usize = 512;
