//! What comes back from disk: cookies, columns of rows, and what the vault opens. Input: which, then bytes or values.

use std::collections::BTreeSet;
use std::path::PathBuf;

use carillon::seal::Vault;
use carillon::store::sqlite::columns;
use carillon_core::http1::{Cookies, Head, Method, Request};
use carillon_core::limits::COOKIES_BYTES_MAX;
use carillon_core::names::FolderId;
use carillon_core::shard::{FolderSync, ToldMail, UnsettledNotice};
use carillon_core::time::UnixMillis;

use crate::input::Input;

/// What was written is read as it was; what is read from anything else can be written, and is read the same again.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    match input.u8() % 5 {
        0 => cookies(&mut input),
        1 => values(&mut input),
        2 => texts(&mut input),
        3 => bytes(&mut input),
        _ => VAULT.with(|vault| sealed(vault, &mut input)),
    }
}

/// A jar holds what a list of pairs would, can be sent, and never grows over its bound.
fn cookies(input: &mut Input<'_>) {
    let times = usize::from(input.u8() / 32);
    let text = input.text();
    let mut jar = Cookies::from_text(&text);
    let mut pairs: Vec<(String, String)> = Vec::new();
    for pair in text.split(';') {
        take(&mut pairs, pair.trim());
    }
    same(&jar, &pairs);
    for _ in 0..times {
        // As the reader of heads hands them over: only what can be sent.
        let (name, value) = (plain(&input.text()), plain(&input.text()).trim().to_owned());
        let pair = format!("c{}={value}", name.replace([' ', '='], ""));
        let before = jar.clone();
        let head = Head { set_cookies: vec![pair.as_str().into()], ..Head::default() };
        assert_eq!(jar.absorb(&head), jar != before);
        take(&mut pairs, &pair);
        same(&jar, &pairs);
    }
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| (' '..='~').contains(c) && *c != ';').collect()
}

fn take(pairs: &mut Vec<(String, String)>, pair: &str) {
    let Some((name, value)) = pair.split_once('=') else { return };
    let in_header = |text: &str| text.chars().all(|c| (' '..='~').contains(&c));
    if name.is_empty() || name.contains(' ') || !in_header(name) || !in_header(value) {
        return;
    }
    let before = pairs.clone();
    match pairs.iter_mut().find(|(known, _)| known == name) {
        Some(known) => known.1 = value.to_owned(),
        None => pairs.push((name.to_owned(), value.to_owned())),
    }
    pairs.retain(|(_, value)| !value.is_empty());
    if sent(pairs).len() > COOKIES_BYTES_MAX {
        *pairs = before;
    }
}

fn sent(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
}

fn same(jar: &Cookies, pairs: &[(String, String)]) {
    assert_eq!(jar.as_str(), sent(pairs));
    assert!(jar.as_str().len() <= COOKIES_BYTES_MAX);
    assert_eq!(Cookies::from_text(jar.as_str()), *jar);
    let names: BTreeSet<&String> = pairs.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), pairs.len(), "each cookie is there once");
    let mut request = Request::new(Method::Post, "/", "mail.example.com").expect("a request");
    assert!(request.header("Cookie", jar.as_str()).is_ok(), "{:?}", jar.as_str());
}

/// Values, written and read back.
fn values(input: &mut Input<'_>) {
    let texts: Vec<String> = (0..input.below(6)).map(|_| input.text()).collect();
    let written = columns::write_texts(texts.iter().map(String::as_str));
    let read = columns::read_texts(&written).expect("what was written");
    assert!(read.iter().map(|text| &**text).eq(texts.iter().map(String::as_str)));

    let folders: Vec<FolderId> = texts.iter().filter_map(|text| FolderId::parse(text).ok()).collect();
    let written = columns::write_texts(folders.iter().map(FolderId::as_str));
    assert_eq!(columns::read_folders(&written), Ok(folders.clone()));
    let mut folders = folders.into_iter();
    let sync: Vec<FolderSync> = texts
        .iter()
        .map(|state| FolderSync { folder: folders.next(), state: state.as_str().into() })
        .collect();
    assert_eq!(columns::read_sync(&columns::write_sync(&sync)), Ok(sync));

    let told: Vec<ToldMail> = (0..input.below(4))
        .map(|_| ToldMail { hash: input.u64(), received: UnixMillis(input.u64()) })
        .collect();
    assert_eq!(columns::read_told(&columns::write_told(&told)), Ok(told));
    let apns_id = u128::from(input.u64()) << 64 | u128::from(input.u64());
    let notice = input.flag().then(|| UnsettledNotice { apns_id, mails: input.u16(), newest: input.u64() });
    let (id, mails, newest) = columns::write_unsettled(notice);
    assert_eq!(columns::read_unsettled((id.as_deref(), mails, newest.as_deref())), Ok(notice));
}

/// Any text in columns of text.
fn texts(input: &mut Input<'_>) {
    let text = String::from_utf8_lossy(input.rest());
    if let Ok(read) = columns::read_texts(&text) {
        let again = columns::read_texts(&columns::write_texts(read.iter().map(|text| &**text)));
        assert_eq!(again, Ok(read));
    }
    if let Ok(read) = columns::read_folders(&text) {
        let again = columns::read_folders(&columns::write_texts(read.iter().map(FolderId::as_str)));
        assert_eq!(again, Ok(read));
    }
    if let Ok(read) = columns::read_sync(&text) {
        assert_eq!(columns::read_sync(&columns::write_sync(&read)), Ok(read));
    }
}

/// Any bytes in columns of bytes.
fn bytes(input: &mut Input<'_>) {
    let (id, newest) = (input.u8() % 18, input.u8() % 10);
    let mails = input.flag().then(|| input.u16());
    let (id, newest) =
        (input.flag().then(|| input.bytes(id.into())), input.flag().then(|| input.bytes(newest.into())));
    match columns::read_unsettled((id, mails, newest)) {
        Ok(notice) => {
            let (id_again, mails_again, newest_again) = columns::write_unsettled(notice);
            assert_eq!((id_again.as_deref(), mails_again, newest_again.as_deref()), (id, mails, newest));
        }
        Err(columns::Unusable) => {
            let whole = id.is_some_and(|id| id.len() == 16) && newest.is_some_and(|newest| newest.len() == 8);
            assert!(!(whole && mails.is_some()) && (id.is_some() || mails.is_some() || newest.is_some()));
        }
    }
    let told = input.rest();
    match columns::read_told(told) {
        Ok(read) => assert_eq!(columns::write_told(&read), told),
        Err(columns::Unusable) => assert!(!told.len().is_multiple_of(16)),
    }
}

/// What was sealed opens whole, for its purpose, and not when anything of it was changed; nothing else opens at all.
fn sealed(vault: &Vault, input: &mut Input<'_>) {
    let (at, change, purpose) = (usize::from(input.u16()), input.u8(), input.text());
    let secret = input.rest();
    assert_eq!(vault.open_sealed(&purpose, secret), None, "nobody sealed this");
    let mut sealed = vault.seal(&purpose, secret);
    assert_eq!(vault.open_sealed(&purpose, &sealed).as_deref(), Some(secret));
    assert_eq!(vault.open_sealed(&format!("{purpose}."), &sealed), None);
    if change == 0 {
        sealed.truncate(at % sealed.len());
    } else {
        let at = at % sealed.len();
        sealed[at] ^= change;
    }
    assert_eq!(vault.open_sealed(&purpose, &sealed), None);
}

thread_local! {
    static VAULT: Vault = {
        let name = format!("carillon-fuzz-{}-{:?}.key", std::process::id(), std::thread::current().id());
        let file: PathBuf = std::env::temp_dir().join(name);
        let vault = Vault::open(&file).expect("a new key file");
        let _ = std::fs::remove_file(file);
        vault
    };
}
