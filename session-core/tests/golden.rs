//! The committed bytes of each codec. When a test here fails, the format has changed: what is stored in the field
//! would no longer be read, or would be written differently by two releases at once. Give the codec a new first
//! byte instead, and keep reading the old one.
//!
//! `UPDATE_GOLDEN=1` writes vectors that are missing; it never overwrites one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod support;

use std::path::PathBuf;
use std::process::Command;

use common::{Entries, hex, key, list, map, object, plain, text, to_hex};
use session_core::{Codec, Codecs, Lifetime, SessionId, Value};
use sha2::{Digest as _, Sha256};
use support::{Bench, MINUTE, START, ada, bench_with, bob, secret};

/// One of everything.
fn everything() -> Entries {
    let entries = [
        ("bool", list([Value::Bool(false), Value::Bool(true)])),
        ("bytes", Value::Bytes(vec![0, 1, 0xfe, 0xff])),
        (
            "floats",
            list([
                Value::F64(-0.0),
                Value::F64(0.1),
                Value::F64(1e300),
                Value::F64(f64::NEG_INFINITY),
                Value::F64(f64::from_bits(0x7ff8_dead_beef_cafe)),
            ]),
        ),
        (
            "integers",
            list([
                Value::I64(0),
                Value::I64(-1),
                Value::I64(127),
                Value::I64(300),
                Value::I64(70_000),
                Value::I64(i64::MIN),
                Value::I64(i64::MAX),
                Value::U64(u64::MAX),
            ]),
        ),
        ("map", map([(Value::I64(7), Value::Null), (list([text("a")]), object([("$map", Value::I64(1))]))])),
        ("null", Value::Null),
        ("text", text("z\u{fc}rich \u{1f600} \"\\\n\u{1}")),
        ("user", object([("name", text("ada")), ("roles", list([text("admin"), text("staff")]))])),
        ("\u{e9}", list([])),
    ];
    entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden", &format!("{name}.hex")].iter().collect()
}

fn vector(name: &str) -> Vec<u8> {
    hex(&std::fs::read_to_string(path(name)).unwrap())
}

fn name_of(codec: &Codec) -> String {
    format!("{codec:?}")
}

#[test]
fn each_codec_writes_its_committed_bytes() {
    for codec in plain() {
        let name = name_of(&codec);
        let payload = Codecs::new(codec).encode_entries(key(), &everything()).unwrap();
        if std::env::var_os("UPDATE_GOLDEN").is_some() && !path(&name).exists() {
            let lines: Vec<String> = payload.chunks(32).map(to_hex).collect();
            let text =
                format!("# `everything()` of tests/golden.rs in the codec {name}\n{}\n", lines.join("\n"));
            std::fs::write(path(&name), text).unwrap();
        }
        assert_eq!(to_hex(&payload), to_hex(&vector(&name)), "the bytes of {name} have changed");
    }
}

#[test]
fn each_codec_reads_its_committed_bytes() {
    for codec in plain() {
        let name = name_of(&codec);
        let entries = Codecs::new(codec).decode_entries(key(), &vector(&name)).unwrap();
        assert_eq!(entries, everything(), "{name}");
    }
}

/// The writer's side stands beside the writer, for the nonce is random. libsodium made the same bytes of this vector's
/// content, key, nonce and associated data, and opened it (by hand, through PyNaCl 1.6.2).
#[cfg(feature = "seal")]
#[test]
fn the_committed_seal_is_opened() {
    let codecs = Codecs::new(common::sealed(Codec::bincode()));
    assert_eq!(codecs.decode_entries(key(), &vector("sealed")).unwrap(), everything());
}

/// The worked examples of `docs/format.md` are these very bytes.
#[test]
fn the_worked_examples_of_the_format_page_are_what_the_codecs_write() {
    let page = include_str!("../../docs/format.md");
    let example = Entries::from([
        ("n".to_owned(), Value::I64(-3)),
        (
            "user".to_owned(),
            object([("name", text("ada")), ("tags", list([Value::Bytes(vec![1, 255]), Value::Null]))]),
        ),
    ]);
    for codec in plain() {
        let name = name_of(&codec);
        let heading = format!("<!-- example: {name} -->");
        let block = page.split(&heading).nth(1).expect(&heading).split("```").nth(1).unwrap();
        let written = hex(block.trim_start_matches("text"));
        let payload = Codecs::new(codec).encode_entries(key(), &example).unwrap();
        assert_eq!(to_hex(&payload), to_hex(&written), "the example of {name}");
    }
}

/// A reader in another language, written from `docs/format.md` alone. Without Python it is left out, and said so.
#[test]
fn a_python_reader_reads_the_committed_bytes() {
    let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "read_payload.py"].iter().collect();
    let expected: String =
        everything().iter().map(|(name, value)| format!("{}={}\n", show(&text(name)), show(value))).collect();
    for codec in plain() {
        let payload = Codecs::new(codec.clone()).encode_entries(key(), &everything()).unwrap();
        let python = Command::new("python3").arg(&script).arg(to_hex(&payload)).output();
        let Ok(output) = python else {
            eprintln!("LEFT OUT: python3 is not installed, so the reader in Python was not run");
            return;
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{codec:?}");
    }
}

/// The entry that the session keeps for itself, in each of its forms, as `docs/format.md` describes it.
#[tokio::test]
async fn a_python_reader_reads_the_sessions_own_entry() {
    let lifetime = Lifetime { idle_timeout: MINUTE, absolute: Some(20 * MINUTE) };
    let bench = bench_with(|short| short.with_renewal_after(Some(5 * MINUTE)));
    let verifier = |id: &SessionId| to_hex(&Sha256::digest(secret(id)));
    let (at, idle) = (START.as_millis(), 600_000);
    let first = bench.stored().await;
    let mut wanted = format!("changed_at={at} idle={idle} verifier={}", verifier(&first));
    assert!(is_read(&bench, &first, |own| own == wanted).await);

    let (session, _) = bench.request(&first, |session| session.sign_in(ada())).await;
    let second = session.id().unwrap();
    wanted = format!("changed_at={at} idle={idle} verifier={} owned_since={at}", verifier(&second));
    assert!(is_read(&bench, &second, |own| own == wanted).await);

    bench.clock.advance(5 * MINUTE);
    let (session, _) = bench.request(&second, |_| ()).await;
    let third = session.id().unwrap();
    let (at, before) = (at + 300_000, verifier(&second));
    let pending = format!("changed_at={at} idle={idle} verifier={} before={before} nonce=", verifier(&third));
    assert!(is_read(&bench, &third, |own| own.starts_with(&pending)).await);
    bench.request(&third, |_| ()).await;
    wanted = format!(
        "changed_at={at} idle={idle} verifier={} before={before} shown_at={at} owned_since={}",
        verifier(&third),
        START.as_millis()
    );
    assert!(is_read(&bench, &third, |own| own == wanted).await);

    let (session, _) = bench.request(&third, |session| session.set_lifetime(Some(lifetime))).await;
    let fourth = session.id().unwrap();
    wanted = format!(
        "changed_at={at} idle=60000 verifier={} owned_since={} lifetime=60000,1200000",
        verifier(&fourth),
        START.as_millis()
    );
    assert!(is_read(&bench, &fourth, |own| own == wanted).await);
    bench.request(&fourth, |session| session.sign_in(bob())).await;
    assert!(is_read(&bench, &fourth, |own| own == format!("changed_at={at} idle=0")).await, "a tombstone");
}

/// What the reader in Python prints of a record's own entry is as wanted, or there is no Python.
async fn is_read(bench: &Bench, id: &SessionId, wanted: impl Fn(&str) -> bool) -> bool {
    let payload = bench.record(id.key()).await.unwrap().payload;
    let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "read_payload.py"].iter().collect();
    let Ok(output) = Command::new("python3").arg(&script).arg(to_hex(&payload)).output() else {
        eprintln!("LEFT OUT: python3 is not installed, so the reader in Python was not run");
        return true;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let own = text.lines().find_map(|line| line.strip_prefix("t\"_session.id\": "));
    own.is_some_and(&wanted) || {
        eprintln!("{text}{}", String::from_utf8_lossy(&output.stderr));
        false
    }
}

/// The notation of `read_payload.py`.
fn show(value: &Value) -> String {
    let joined = |items: Vec<String>| items.join(",");
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::I64(value) => format!("i{value}"),
        Value::U64(value) => format!("i{value}"),
        Value::F64(value) => format!("f{:016x}", value.to_bits()),
        Value::Text(value) => format!("t{}", serde_json::to_string(value).unwrap()),
        Value::Bytes(value) => format!("b{}", to_hex(value)),
        Value::List(items) => format!("[{}]", joined(items.iter().map(show).collect())),
        Value::Map(pairs) => {
            format!("{{{}}}", joined(pairs.iter().map(|(k, v)| format!("{}:{}", show(k), show(v))).collect()))
        }
        other => unreachable!("a kind of value that this test does not know: {other:?}"),
    }
}
