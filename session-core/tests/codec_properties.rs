//! What must hold of each codec, for any value.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Entries, key, plain};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use session_core::{Codec, Codecs, Value};

/// A quarter of the usual number of cases, for each runs through every codec; `PROPTEST_CASES` sets another.
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.div_ceil(4), failure_persistence: None, ..usual }
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-z]{0,6}",
        2 => any::<String>(),
        1 => prop_oneof![Just("$bytes"), Just("$f64"), Just("$map"), Just("$")].prop_map(str::to_owned),
    ]
}

fn number() -> impl Strategy<Value = Value> {
    let near = |bits: u32| -3_i64..3_i64.saturating_add(i64::from(bits));
    let edge = (0..64_u32).prop_flat_map(move |bits| {
        near(0)
            .prop_map(move |offset| Value::from_typed(&(1_u64 << bits).wrapping_add_signed(offset)).unwrap())
    });
    prop_oneof![
        any::<i64>().prop_map(Value::I64),
        any::<u64>().prop_map(|number| Value::from_typed(&number).unwrap()),
        edge.clone(),
        edge.prop_map(|edge| match edge {
            Value::I64(number) => Value::I64(number.wrapping_neg()),
            other => other,
        }),
        any::<u64>().prop_map(|bits| Value::F64(f64::from_bits(bits))),
        any::<f64>().prop_map(Value::F64),
        any::<f32>().prop_map(|float| Value::F64(float.into())),
        any::<i32>().prop_map(|whole| Value::F64(whole.into())),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::Bool),
        4 => number(),
        2 => name().prop_map(Value::Text),
        1 => vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        1 => vec(any::<u8>(), 250..260).prop_map(Value::Bytes),
        1 => "[ -~]{30,34}".prop_map(Value::Text),
    ];
    leaf.prop_recursive(5, 40, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(Value::List),
            vec((name().prop_map(Value::Text), inner.clone()), 0..18).prop_map(Value::Map),
            vec((inner.clone(), inner), 0..6).prop_map(Value::Map),
        ]
    })
}

fn session() -> impl Strategy<Value = Entries> {
    btree_map(name(), value(), 0..8)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_session_comes_back_exactly_and_has_one_encoding(entries in session()) {
        for codecs in common::all() {
            let payload = codecs.encode_entries(key(), &entries).unwrap();
            let back = codecs.decode_entries(key(), &payload).unwrap();
            prop_assert_eq!(&back, &entries, "{:?}", &codecs);
            let again = codecs.encode_entries(key(), &back).unwrap();
            // A seal has a new nonce each time, and the same length.
            prop_assert!(payload == again || (payload[0] == 0x41 && payload.len() == again.len()), "{:?}", &codecs);
        }
    }

    #[test]
    fn a_session_means_the_same_after_moving_through_every_codec(entries in session()) {
        let mut moved = entries.clone();
        for codecs in common::all() {
            let payload = codecs.encode_entries(key(), &moved).unwrap();
            moved = codecs.decode_entries(key(), &payload).unwrap();
        }
        prop_assert_eq!(moved, entries);
    }

    #[test]
    fn one_reader_reads_what_every_codec_wrote(entries in session()) {
        let reader = plain().into_iter().fold(Codecs::default(), Codecs::also_reads);
        for codec in plain() {
            let payload = Codecs::new(codec).encode_entries(key(), &entries).unwrap();
            prop_assert_eq!(&reader.decode_entries(key(), &payload).unwrap(), &entries);
        }
    }

    #[test]
    fn a_value_comes_back_through_a_type(value in value()) {
        prop_assert_eq!(&Value::from_typed(&value).unwrap(), &value);
        prop_assert_eq!(value.clone().into_typed::<Value>().unwrap(), value);
    }

    #[test]
    fn bincode_payloads_are_what_bincode_writes(entries in session()) {
        let payload = Codecs::new(Codec::bincode()).encode_entries(key(), &entries).unwrap();
        prop_assert_eq!(&payload[1..], &derived::encode(&entries)[..]);
    }
}

/// bincode's own encoding of an enum like `Value`, through serde's derive.
mod derived {
    use super::*;
    use serde::Serialize;

    #[derive(Serialize)]
    enum Derived<'a> {
        Null,
        Bool(bool),
        I64(i64),
        U64(u64),
        F64(f64),
        Text(&'a str),
        Bytes(&'a [u8]),
        List(Vec<Derived<'a>>),
        Map(Vec<(Derived<'a>, Derived<'a>)>),
    }

    fn derived(value: &Value) -> Derived<'_> {
        match value {
            Value::Null => Derived::Null,
            Value::Bool(value) => Derived::Bool(*value),
            Value::I64(value) => Derived::I64(*value),
            Value::U64(value) => Derived::U64(*value),
            Value::F64(value) => Derived::F64(*value),
            Value::Text(value) => Derived::Text(value),
            Value::Bytes(value) => Derived::Bytes(value),
            Value::List(items) => Derived::List(items.iter().map(derived).collect()),
            Value::Map(pairs) => Derived::Map(pairs.iter().map(|(k, v)| (derived(k), derived(v))).collect()),
            other => unreachable!("a kind of value that this test does not know: {other:?}"),
        }
    }

    pub(super) fn encode(entries: &Entries) -> Vec<u8> {
        let config = bincode::config::standard();
        let raw = |value| bincode::serde::encode_to_vec(derived(value), config).unwrap();
        let frame: Vec<(&str, Vec<u8>)> =
            entries.iter().map(|(name, value)| (name.as_str(), raw(value))).collect();
        bincode::serde::encode_to_vec(frame, config).unwrap()
    }
}

#[cfg(feature = "json")]
mod json {
    use super::*;

    /// Values that JSON has words of its own for.
    fn plain_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            number().prop_filter("JSON has no such float", |value| match value {
                Value::F64(float) => float.is_finite(),
                _ => true,
            }),
            any::<String>().prop_map(Value::Text),
        ];
        leaf.prop_recursive(4, 40, 10, |inner| {
            let object = btree_map("[^$].{0,5}|", inner.clone(), 0..10);
            let object = object.prop_map(|members| {
                Value::Map(members.into_iter().map(|(name, value)| (Value::Text(name), value)).collect())
            });
            prop_oneof![vec(inner, 0..10).prop_map(Value::List), object]
        })
    }

    proptest! {
        #![proptest_config(config())]

        /// `serde_json` with `float_roundtrip` is the oracle, in both directions.
        #[test]
        fn json_payloads_are_json_to_others(value in plain_json()) {
            let codecs = Codecs::new(Codec::json());
            let payload = codecs.encode_entries(key(), &common::one(value.clone())).unwrap();
            let read: Entries = serde_json::from_slice(&payload[1..]).unwrap();
            prop_assert_eq!(&read["n"], &value);

            for text in [serde_json::to_vec(&read).unwrap(), serde_json::to_vec_pretty(&read).unwrap()] {
                let foreign = [&payload[..1], &text].concat();
                prop_assert_eq!(&codecs.decode_entries(key(), &foreign).unwrap()["n"], &value);
            }
        }

        #[test]
        fn tagged_json_is_json_to_others(entries in session()) {
            let payload = Codecs::new(Codec::json()).encode_entries(key(), &entries).unwrap();
            prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&payload[1..]).is_ok());
        }

        #[test]
        fn text_is_json_exactly_when_serde_json_says_so(text in "[-+0-9.eE]{1,8}|[\"\\\\u0-9a-fA-F]{1,12}|[\\[\\]{},:\"0 tru]{1,10}") {
            let framed = [b"\x21{\"n\":", text.as_bytes(), b"}"].concat();
            let ours = Codecs::new(Codec::json()).decode_entries(key(), &framed).ok();
            let theirs = serde_json::from_slice::<Entries>(&framed[1..]).ok();
            match (ours, theirs) {
                (None, None) => {}
                (Some(ours), Some(theirs)) => match (&ours["n"], &theirs["n"]) {
                    (Value::I64(0), Value::F64(zero)) => prop_assert!(*zero == 0.0, "-0"),
                    (ours, theirs) => prop_assert_eq!(ours, theirs),
                },
                // An integer beyond 64 bits is a float to them.
                (None, Some(theirs)) => prop_assert!(matches!(theirs["n"], Value::F64(_)), "{text}"),
                (ours, theirs) => prop_assert!(false, "{text:?}: {ours:?} against {theirs:?}"),
            }
        }
    }
}

#[cfg(feature = "msgpack")]
mod msgpack {
    use super::*;

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn msgpack_payloads_are_msgpack_to_others(entries in session()) {
            let payload = Codecs::new(Codec::msgpack()).encode_entries(key(), &entries).unwrap();
            let read: Entries = rmp_serde::from_slice(&payload[1..]).unwrap();
            prop_assert_eq!(&read, &entries);
            prop_assert_eq!(&payload[1..], &rmp_serde::to_vec(&entries).unwrap()[..]);
        }
    }
}
