//! Every seed passes its target's checks, and so do mutations of it.

use std::fs;
use std::path::Path;

use carillon_core::rng::Rng;
use carillon_fuzz_checks::TARGETS;

/// Of each seed, besides itself.
const MUTATIONS: usize = 40;

macro_rules! replay {
    ($($name:ident),*) => {$(
        #[test]
        fn $name() {
            replay(stringify!($name));
        }
    )*

        #[test]
        fn each_target_is_replayed() {
            assert_eq!(TARGETS.iter().map(|target| target.name).collect::<Vec<_>>(), [$(stringify!($name)),*]);
        }
    };
}

replay!(
    api_json,
    api_request,
    apns_answer,
    apns_peer,
    config,
    dates,
    ews_answer,
    ews_stream,
    exchange_peer,
    http_response,
    journal,
    lane,
    notice,
    shard,
    soap_envelope,
    stored
);

#[test]
fn each_target_has_its_binary() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz_targets");
    let manifest = fs::read_to_string(folder.join("../Cargo.toml")).expect("fuzz/Cargo.toml");
    for target in TARGETS {
        assert!(folder.join(format!("{}.rs", target.name)).exists(), "{} has no binary", target.name);
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{} is not declared", target.name);
    }
}

fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds").join(name);
    let mut seeds: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a file").path())
        .collect();
    seeds.sort();
    assert!(seeds.len() >= 2, "{name} has {} seeds", seeds.len());
    for (number, path) in seeds.into_iter().enumerate() {
        let seed = fs::read(&path).expect("a seed");
        eprintln!("{}", path.display());
        (target.check)(&seed);
        let mut rng = Rng::new(number as u64);
        for _ in 0..MUTATIONS {
            (target.check)(&mutated(&mut rng, &seed));
        }
    }
}

/// A few bytes changed, and perhaps a piece doubled, left out, or the end cut off.
fn mutated(rng: &mut Rng, seed: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..1 + rng.below(4) {
        let len = bytes.len() as u64;
        let (from, to) = (rng.below(len + 1) as usize, rng.below(len + 1) as usize);
        let (from, to) = (from.min(to), from.max(to));
        match rng.below(6) {
            0 => bytes.truncate(to),
            1 => drop(bytes.drain(from..to)),
            2 if bytes.len() < 4 * seed.len() => {
                let piece = bytes[from..to].to_vec();
                bytes.splice(from..from, piece);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(from) {
                    *byte = rng.next_u64() as u8;
                }
            }
        }
    }
    bytes
}
