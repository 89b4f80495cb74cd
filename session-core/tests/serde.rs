//! Every kind of serde type comes back exactly, through every codec, or is refused in words.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU8;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use common::{all, key, list, map, object, one, text};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use session_core::{Codecs, ErrorKind, Value};

/// `typed` is kept as `expected`, and comes back the same through every codec.
#[track_caller]
fn kept<T: Serialize + DeserializeOwned + PartialEq + Debug>(typed: T, expected: Value) {
    assert_eq!(Value::from_typed(&typed).unwrap(), expected, "the value of {typed:?}");
    comes_back(&typed);
}

#[track_caller]
fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(typed: &T) {
    let value = Value::from_typed(typed).unwrap();
    for codecs in all() {
        let payload = codecs.encode_entries(key(), &one(value.clone())).unwrap();
        let stored = codecs.decode_entries(key(), &payload).unwrap().remove("n").unwrap();
        assert_eq!(stored, value, "{codecs:?}");
        assert_eq!(&stored.into_typed::<T>().unwrap(), typed, "{codecs:?}");
    }
}

#[track_caller]
fn refused<T: Serialize + ?Sized>(typed: &T, words: &str) {
    let error = Value::from_typed(typed).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert_eq!(error.to_string(), words);
}

#[track_caller]
fn unreadable<T: DeserializeOwned + Debug>(value: Value, words: &str) {
    let error = value.into_typed::<T>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert_eq!(error.to_string(), words);
}

#[test]
fn integers_of_every_width_keep_their_ends() {
    kept(i8::MIN, Value::I64(-128));
    kept(u8::MAX, Value::I64(255));
    kept(i16::MIN, Value::I64(-32_768));
    kept(u16::MAX, Value::I64(65_535));
    kept(i32::MIN, Value::I64(i32::MIN.into()));
    kept(u32::MAX, Value::I64(u32::MAX.into()));
    kept(i64::MIN, Value::I64(i64::MIN));
    kept(i64::MAX, Value::I64(i64::MAX));
    kept(i64::MAX as u64, Value::I64(i64::MAX));
    kept(i64::MAX as u64 + 1, Value::U64(1 << 63));
    kept(u64::MAX, Value::U64(u64::MAX));
    kept(i128::from(i64::MIN), Value::I64(i64::MIN));
    kept(i128::from(u64::MAX), Value::U64(u64::MAX));
    kept(u128::from(u64::MAX), Value::U64(u64::MAX));
    kept(7_u128, Value::I64(7));
    kept(NonZeroU8::MIN, Value::I64(1));
    let words = "value: an integer that neither i64 nor u64 holds: keep it as text";
    refused(&(i128::from(i64::MIN) - 1), words);
    refused(&(u128::from(u64::MAX) + 1), words);
    refused(&i128::MAX, words);
}

#[test]
fn floats_keep_each_bit() {
    let interesting = [
        0,
        1 << 63,               // -0.0
        0x7ff0_0000_0000_0000, // infinity
        0xfff0_0000_0000_0000, // -infinity
        0x7ff8_0000_0000_0000, // NaN
        0xfff8_0000_0000_0000, // -NaN
        0x7ff0_0000_0000_0001, // a signalling NaN
        0x7ff8_dead_beef_cafe, // a NaN with a payload
        1,                     // the smallest subnormal
        f64::MAX.to_bits(),
        f64::MIN_POSITIVE.to_bits(),
        0.1_f64.to_bits(),
        2_f64.powi(53).to_bits(),
        1e16_f64.to_bits(),
        (1.0_f64 / 3.0).to_bits(),
        5e-324_f64.to_bits(),
        9_007_199_254_740_993_f64.to_bits(),
    ];
    for bits in interesting {
        for codecs in all() {
            let value = Value::from_typed(&f64::from_bits(bits)).unwrap();
            let payload = codecs.encode_entries(key(), &one(value)).unwrap();
            let stored = codecs.decode_entries(key(), &payload).unwrap().remove("n").unwrap();
            assert_eq!(stored.into_typed::<f64>().unwrap().to_bits(), bits, "{codecs:?} {bits:x}");
        }
    }
    for bits in [
        0,
        1 << 31,
        0x7f80_0000,
        0x7fc0_0000,
        0xffc0_0000,
        0x7f80_0001,
        0x7fff_ffff,
        1,
        0x7f7f_ffff,
        0x3dcc_cccd,
    ] {
        let value = Value::from_typed(&f32::from_bits(bits)).unwrap();
        assert_eq!(value.into_typed::<f32>().unwrap().to_bits(), bits, "{bits:x}");
    }
    for exponent in 0..=255_u32 {
        for fraction in [0, 1, 0x40_0000, 0x7f_ffff, 0x12_3456] {
            let bits = exponent << 23 | fraction;
            let value = Value::from_typed(&f32::from_bits(bits)).unwrap();
            assert_eq!(value.into_typed::<f32>().unwrap().to_bits(), bits, "{bits:x}");
        }
    }
}

#[test]
fn a_float_read_from_an_integer_is_that_number() {
    assert_eq!(Value::I64(3).into_typed::<f64>().unwrap(), 3.0);
    unreadable::<i64>(Value::F64(3.0), "value: expected i64, found float");
}

#[test]
fn text_and_bytes_of_every_kind() {
    for c in ['\0', 'a', '"', '\\', '\u{7f}', '\u{e9}', '\u{2028}', '\u{d7ff}', '\u{e000}', '\u{10ffff}'] {
        kept(c, text(&c.to_string()));
    }
    let all_ascii: String = (0..128_u8).map(char::from).collect();
    kept(all_ascii.clone(), text(&all_ascii));
    kept(String::new(), text(""));
    kept(PathBuf::from("/a b"), text("/a b"));
    kept(Box::<str>::from("x"), text("x"));
    kept(ByteBuf::from((0..=255_u8).collect::<Vec<_>>()), Value::Bytes((0..=255).collect()));
    kept(ByteBuf::new(), Value::Bytes(vec![]));
    kept(vec![1_u8, 255], list([Value::I64(1), Value::I64(255)]));
    kept([7_u8; 3], list([Value::I64(7), Value::I64(7), Value::I64(7)]));
}

#[derive(Serialize, Deserialize, PartialEq, Eq, Debug, Clone, PartialOrd, Ord)]
struct Unit;

#[derive(Serialize, Deserialize, PartialEq, Eq, Debug, Clone, PartialOrd, Ord)]
struct Newtype(u64);

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Pair(i8, String);

#[derive(Serialize, Deserialize, PartialEq, Debug, Default)]
struct User {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nick: Option<String>,
    roles: Vec<String>,
}

#[derive(Serialize, Deserialize, PartialEq, Eq, Debug, Clone, PartialOrd, Ord)]
enum Kind {
    Unit,
    Newtype(u8),
    Nothing(()),
    Tuple(u8, bool),
    Struct {
        a: u8,
        b: Option<Box<Kind>>,
    },
    #[serde(rename = "")]
    Empty,
}

#[test]
fn structs_and_tuples() {
    kept((), Value::Null);
    kept(Unit, Value::Null);
    kept(Newtype(u64::MAX), Value::U64(u64::MAX));
    kept(Pair(-1, "x".into()), list([Value::I64(-1), text("x")]));
    kept(
        (1_u8, 'c', [true; 2]),
        list([Value::I64(1), text("c"), list([Value::Bool(true), Value::Bool(true)])]),
    );
    let user = User { name: "ada".into(), nick: None, roles: vec!["admin".into()] };
    kept(user, object([("name", text("ada")), ("roles", list([text("admin")]))]));
    comes_back(&(Duration::new(5, 6), SystemTime::UNIX_EPOCH + Duration::from_nanos(7)));
    comes_back(&(0..7_u32, 1..=9_i64, std::num::Wrapping(5_i8), std::marker::PhantomData::<u8>));
}

#[test]
fn enums_of_all_four_kinds() {
    kept(Kind::Unit, text("Unit"));
    kept(Kind::Empty, text(""));
    kept(Kind::Newtype(1), object([("Newtype", Value::I64(1))]));
    kept(Kind::Nothing(()), object([("Nothing", Value::Null)]));
    kept(Kind::Tuple(1, true), object([("Tuple", list([Value::I64(1), Value::Bool(true)]))]));
    let nested = Kind::Struct { a: 1, b: Some(Box::new(Kind::Newtype(2))) };
    let inner = object([("Newtype", Value::I64(2))]);
    kept(nested, object([("Struct", object([("a", Value::I64(1)), ("b", inner)]))]));
    comes_back(&vec![Ok::<u8, String>(1), Err("no".into())]);
    comes_back(&Some(Kind::Unit));
}

#[test]
fn options_are_told_apart_or_refused() {
    kept(None::<u8>, Value::Null);
    kept(Some(0_u8), Value::I64(0));
    kept(Some(Some(1_u8)), Value::I64(1));
    kept(None::<Option<u8>>, Value::Null);
    kept(vec![None, Some(1_u8)], list([Value::Null, Value::I64(1)]));
    kept(Some(vec![None::<u8>]), list([Value::Null]));
    let words =
        "value: Some(None) or Some(()) would read back as None: use an enum that names the three cases";
    refused(&Some(None::<u8>), words);
    refused(&Some(()), words);
    refused(&Some(Unit), words);
    refused(&Some(Some(None::<u8>)), words);
    refused(&Some(Value::Null), words);
    #[derive(Serialize)]
    struct Patch {
        nick: Vec<Option<Option<u8>>>,
    }
    let at = words.replace("value:", "value at nick[1]:");
    refused(&Patch { nick: vec![None, Some(None)] }, &at);
}

#[test]
fn maps_take_keys_of_any_kind() {
    let value = |key| map([(key, Value::Bool(true))]);
    kept(BTreeMap::from([(-5_i32, true)]), value(Value::I64(-5)));
    kept(BTreeMap::from([(u64::MAX, true)]), value(Value::U64(u64::MAX)));
    kept(BTreeMap::from([(false, true)]), value(Value::Bool(false)));
    kept(BTreeMap::from([('x', true)]), value(text("x")));
    kept(BTreeMap::from([((), true)]), value(Value::Null));
    kept(BTreeMap::from([(None::<u8>, true)]), value(Value::Null));
    kept(BTreeMap::from([((1_u8, 'x'), true)]), value(list([Value::I64(1), text("x")])));
    kept(BTreeMap::from([(ByteBuf::from([0, 255]), true)]), value(Value::Bytes(vec![0, 255])));
    kept(BTreeMap::from([(Kind::Newtype(3), true)]), value(object([("Newtype", Value::I64(3))])));
    kept(BTreeMap::from([(Newtype(9), true)]), value(Value::I64(9)));
    kept(
        BTreeMap::from([(BTreeMap::from([(1_u8, 2_u8)]), true)]),
        value(map([(Value::I64(1), Value::I64(2))])),
    );
    kept(BTreeMap::<String, u8>::new(), map([]));
    for name in
        ["$bytes", "$f64", "$map", "$", "$$map", "", "a\0b", "\u{1f600}", "$serde_json::private::Number"]
    {
        kept(BTreeMap::from([(name.to_owned(), true)]), value(text(name)));
        kept(BTreeMap::from([("!".to_owned(), "AA==".to_owned()), (name.to_owned(), "AA==".to_owned())]), {
            Value::Map(
                BTreeMap::from([("!", ()), (name, ())]).keys().map(|k| (text(k), text("AA=="))).collect(),
            )
        });
    }
    comes_back(&BTreeSet::from([1_u8, 2]));
    comes_back(&HashMap::from([(1_u128, vec![(1_i8, 2.5_f32)]), (2, vec![])]));
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Flat {
    id: u8,
    #[serde(flatten)]
    inner: Inner,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Inner {
    /// Its form depends on `is_human_readable`, which serde does not pass on through `flatten`.
    address: IpAddr,
    wide: u64,
    ratio: f64,
    optional: Option<u8>,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(tag = "type")]
enum Internal {
    Unit,
    Newtype(Inner),
    Struct { a: u64, b: Kind },
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Unit,
    Newtype(i64),
    Tuple(u8, Inner),
    Struct { a: BTreeMap<u8, u8> },
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
#[serde(untagged)]
enum Untagged {
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    Flag(bool),
    Text(String),
    Bytes(ByteBuf),
    Map(BTreeMap<u32, Untagged>),
    Record { a: Inner },
    List(Vec<Untagged>),
    Null,
}

fn inner() -> Inner {
    Inner {
        address: Ipv6Addr::LOCALHOST.into(),
        wide: u64::MAX,
        ratio: -0.0,
        optional: None,
        bytes: vec![0, 200],
    }
}

#[test]
fn flattened_and_tagged_types_in_every_form() {
    let rest = BTreeMap::from([("zz".to_owned(), list([Value::Null, Value::U64(u64::MAX)]))]);
    comes_back(&Flat { id: 1, inner: inner(), rest });
    let internal =
        [Internal::Unit, Internal::Newtype(inner()), Internal::Struct { a: 1, b: Kind::Tuple(1, true) }];
    comes_back(&Vec::from(internal));
    let a = BTreeMap::from([(1, 2)]);
    let adjacent =
        [Adjacent::Unit, Adjacent::Newtype(-1), Adjacent::Tuple(1, inner()), Adjacent::Struct { a }];
    comes_back(&Vec::from(adjacent));
    let untagged = [
        Untagged::Integer(-1),
        Untagged::Unsigned(u64::MAX),
        Untagged::Float(0.5),
        Untagged::Flag(true),
        Untagged::Text("x".into()),
        // serde's `String` takes bytes that are UTF-8, and the first variant that fits is taken.
        Untagged::Bytes(ByteBuf::from([0xff])),
        Untagged::Map(BTreeMap::from([(1, Untagged::Null)])),
        Untagged::Record { a: inner() },
        Untagged::List(vec![Untagged::Null]),
        Untagged::Null,
    ];
    comes_back(&Vec::from(untagged));
}

#[test]
fn types_that_have_a_form_for_people_use_it() {
    kept(IpAddr::from([127, 0, 0, 1]), text("127.0.0.1"));
    kept(SocketAddr::from(([127, 0, 0, 1], 80)), text("127.0.0.1:80"));
}

#[test]
fn a_value_stands_for_itself() {
    let value = list([Value::Null, Value::F64(-0.0), map([(Value::Bytes(vec![1]), Value::U64(u64::MAX))])]);
    kept(value.clone(), value);
}

#[test]
fn an_integer_built_in_its_other_form_is_put_right() {
    for codecs in all() {
        let payload = codecs.encode_entries(key(), &one(Value::U64(5))).unwrap();
        assert_eq!(
            payload[..] == codecs.encode_entries(key(), &one(Value::I64(5))).unwrap()[..],
            payload[0] != 0x41
        );
        let stored = codecs.decode_entries(key(), &payload).unwrap().remove("n").unwrap();
        assert!(matches!(stored, Value::I64(5)), "{codecs:?} {stored:?}");
    }
}

#[test]
fn a_struct_that_gained_or_lost_a_field_still_reads() {
    let older = object([("roles", list([])), ("gone", Value::I64(1)), ("name", text("ada"))]);
    assert_eq!(older.into_typed::<User>().unwrap(), User { name: "ada".into(), ..User::default() });
}

#[test]
fn a_wrong_type_is_told_by_place_and_kinds_and_never_by_content() {
    unreadable::<u32>(text("hunter2"), "value: expected u32, found text");
    unreadable::<u8>(Value::I64(4711), "value: expected u8, found integer that is not one");
    unreadable::<u8>(Value::I64(-4711), "value: expected u8, found integer that is not one");
    unreadable::<char>(text("hunter2"), "value: expected a character, found text that is not one");
    unreadable::<String>(Value::Null, "value: expected a string, found null");
    unreadable::<String>(Value::Bytes(b"hunter2".to_vec()), "value: expected a string, found bytes");
    unreadable::<ByteBuf>(text("hunter2"), "value: expected byte array, found text");
    unreadable::<bool>(Value::Bytes(b"hunter2".to_vec()), "value: expected a boolean, found bytes");
    unreadable::<()>(Value::F64(4711.0), "value: expected unit, found float");
    unreadable::<(u8, u8)>(
        list([Value::I64(1), Value::I64(2), Value::I64(3)]),
        "value: expected length 2, found length 3",
    );
    unreadable::<User>(
        object([("name", text("x")), ("roles", list([text("a"), Value::Bool(true)]))]),
        "value at roles[1]: expected a string, found bool",
    );
    unreadable::<User>(object([("name", text("hunter2"))]), "value: field `roles` is missing");
    unreadable::<BTreeMap<String, User>>(
        object([("hunter2", object([("name", Value::Null)]))]),
        "value at [..].name: expected a string, found null",
    );
    unreadable::<Vec<Kind>>(
        list([object([("Struct", object([("a", text("hunter2"))]))])]),
        "value at [0].Struct.a: expected u8, found text",
    );
    let variants =
        "value: expected variant `Unit`, `Newtype`, `Nothing`, `Tuple`, `Struct` or ``, found another";
    unreadable::<Kind>(text("hunter2"), variants);
    unreadable::<Kind>(object([("hunter2", Value::Null)]), variants);
    unreadable::<Kind>(text("Tuple"), "value: expected a tuple variant, found a unit variant");
    unreadable::<IpAddr>(text("hunter2"), "value: the type refused the stored value");
    unreadable::<Option<Vec<u8>>>(text("hunter2"), "value: expected a sequence, found text");
    unreadable::<Vec<Untagged2>>(
        list([text("hunter2")]),
        "value at [0]: data did not match any variant of untagged enum Untagged2",
    );
    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Strict {
        a: u8,
    }
    unreadable::<Strict>(
        object([("hunter2", Value::Null)]),
        "value at [..]: expected field `a`, found another",
    );
}

#[derive(Deserialize, Debug)]
#[serde(untagged)]
#[allow(dead_code)]
enum Untagged2 {
    A(u8),
}

#[test]
fn what_is_too_deep_or_too_large_is_refused_when_written() {
    fn nested(depth: usize) -> Value {
        (0..depth).fold(Value::Null, |inner, _| list([inner]))
    }
    comes_back(&nested(64));
    refused(
        &nested(65),
        &format!("value at {}: more than 64 lists and maps inside one another", "[0]".repeat(64)),
    );
    let full = vec![Value::Null; (1 << 20) - 1];
    assert!(Value::from_typed(&full).is_ok());
    let over = vec![(); 1 << 20];
    refused(&over, "value at [1048575]: more than 1048576 values in one entry");
    let codecs = Codecs::default();
    assert!(codecs.encode_entries(key(), &one(Value::List(full))).is_ok());
    for value in [nested(65), Value::List(vec![Value::Null; 1 << 20])] {
        let error = codecs.encode_entries(key(), &one(value)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
        assert!(error.to_string().starts_with("session key \"n\": more than "), "{error}");
    }
}
