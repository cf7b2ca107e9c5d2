use std::path::Path;
use std::process::{Command as Process, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use super::*;
use crate::config::Team;
use crate::store::sqlite::SqliteStore;
use crate::testing::{FailingStore, FakeEngine};

fn team(file: &Path) -> Team {
    Team { team_id: "TEAM123456".into(), key_id: "ABCDE12345".into(), key_file: file.to_owned() }
}

fn write_key(file: &Path) -> rcgen::KeyPair {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    std::fs::write(file, pair.serialize_pem()).unwrap();
    pair
}

#[test]
fn a_token_has_apples_header_and_claims_and_a_signature_of_64_bytes_that_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.p8");
    let pair = write_key(&file);
    let jwt = Signer::load(&team(&file)).unwrap().mint(UnixMillis(1_700_000_000_999));
    let parts: Vec<&str> = jwt.split('.').collect();
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    assert_eq!(decode(parts[0]), br#"{"alg":"ES256","kid":"ABCDE12345"}"#);
    assert_eq!(decode(parts[1]), br#"{"iss":"TEAM123456","iat":1700000000}"#);
    let signature = decode(parts[2]);
    assert_eq!(signature.len(), 64);
    let signed = format!("{}.{}", parts[0], parts[1]);
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key_raw());
    public.verify(signed.as_bytes(), &signature).unwrap();
    assert!(public.verify(&signed.as_bytes()[1..], &signature).is_err());
}

/// A key and a verification that are not ours. Passes without looking where there is no `openssl`.
#[test]
fn openssl_makes_a_key_that_signs_and_verifies_what_it_signed() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        Process::new("openssl")
            .args(args)
            .current_dir(dir.path())
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .status()
    };
    let made = run(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "a.p8"]);
    if !made.is_ok_and(|status| status.success()) {
        return;
    }
    let jwt = Signer::load(&team(&dir.path().join("a.p8"))).unwrap().mint(UnixMillis(1_700_000_000_000));
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    std::fs::write(dir.path().join("signed"), signed).unwrap();
    std::fs::write(dir.path().join("signature"), der(&signature)).unwrap();
    assert!(run(&["pkey", "-in", "a.p8", "-pubout", "-out", "a.pub"]).unwrap().success());
    let verify = ["dgst", "-sha256", "-verify", "a.pub", "-signature", "signature", "signed"];
    assert!(run(&verify).unwrap().success());
    std::fs::write(dir.path().join("signed"), "something else").unwrap();
    assert!(!run(&verify).unwrap().success());
}

/// R and S as `openssl` wants them: a SEQUENCE of two INTEGERs.
fn der(signature: &[u8]) -> Vec<u8> {
    let integer = |half: &[u8]| {
        let digits = &half[half.iter().position(|byte| *byte != 0).unwrap()..];
        let pad = usize::from(digits[0] >= 0x80);
        [&[2, (digits.len() + pad) as u8], &[0][..pad], digits].concat()
    };
    let body = [integer(&signature[..32]), integer(&signature[32..])].concat();
    [&[0x30, body.len() as u8], body.as_slice()].concat()
}

#[test]
fn a_key_file_that_cannot_sign_is_named_with_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.p8");
    let text = || Signer::load(&team(&file)).unwrap_err().to_string();
    assert!(text().ends_with("a.p8: no such file"), "{}", text());
    for bad in ["", "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        std::fs::write(&file, bad).unwrap();
        assert!(text().contains("a.p8: is not "), "{}", text());
        assert!(!text().contains('\n'));
    }
    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    std::fs::write(&file, other.serialize_pem()).unwrap();
    assert!(text().contains("is not an EC key on P-256"), "{}", text());
}

#[tokio::test]
async fn a_restart_hands_over_the_stored_token_and_mints_none() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.p8");
    write_key(&file);
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir.path().join("a.db")).await.unwrap());
    let key_file = dir.path().join("a.key");
    let handed = async |key_file: &Path| {
        let engine = Arc::new(FakeEngine::default());
        let vault = Arc::new(Vault::open(key_file).unwrap());
        let signers = vec![Signer::load(&team(&file)).unwrap()];
        TokenKeeper::start(signers, store.clone(), engine.clone(), vault).await.unwrap();
        match engine.taken().as_slice() {
            [Command::SetTeamToken { team: TeamId(0), jwt, issued }] => (jwt.clone(), *issued),
            other => panic!("{} commands", other.len()),
        }
    };
    let first = handed(&key_file).await;
    let stored = store.team_token("TEAM123456", "ABCDE12345").await.unwrap().unwrap();
    assert_eq!(stored.issued, first.1);
    let clear = first.0.as_bytes();
    assert!(!stored.sealed.windows(20).any(|window| window == &clear[..20]), "sealed at rest");
    assert_eq!(handed(&key_file).await, first, "the same token after a restart");
    // ES256 signatures are never equal twice, so another token shows.
    assert_ne!(handed(&dir.path().join("other.key")).await.0, first.0, "another key file cannot open it");

    let old = TokenRow { issued: UnixMillis(first.1.0 - RENEW_AFTER_MS - RENEW_JITTER_MS), ..stored };
    store.put_team_token(&old).await.unwrap();
    assert!(handed(&key_file).await.1 >= first.1, "an old one is replaced");
}

#[tokio::test]
async fn while_the_store_fails_one_token_is_minted_and_used_and_stored_when_it_works_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.p8");
    write_key(&file);
    let store = Arc::new(FailingStore::open(dir.path()).await);
    store.set_full(true);
    let engine = Arc::new(FakeEngine::default());
    let vault = Arc::new(Vault::open(&dir.path().join("a.key")).unwrap());
    let signers = vec![Signer::load(&team(&file)).unwrap()];
    let keeper = TokenKeeper::start(signers, store.clone(), engine.clone(), vault).await.unwrap();
    let [Command::SetTeamToken { issued, .. }] = engine.taken()[..] else { panic!("one token") };
    let (sender, refusals) = TokenKeeper::refusals();
    let running = tokio::spawn(keeper.run(refusals));
    // Refused too early to be replaced: another may not come for 20 minutes, store or no store.
    for _ in 0..3 {
        sender.send((TeamId(0), issued)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(engine.taken().len(), 1);
    assert_eq!(store.team_token("TEAM123456", "ABCDE12345").await.unwrap(), None);

    store.set_full(false);
    // News of any kind is a reason to try again.
    sender.send((TeamId(0), issued)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let stored = store.team_token("TEAM123456", "ABCDE12345").await.unwrap().unwrap();
    assert_eq!((stored.issued, engine.taken().len()), (issued, 1));
    drop(sender);
    running.await.unwrap();
}
