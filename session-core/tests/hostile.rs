//! Bytes that nobody's session wrote give a value or an error: never a panic, an abort, or a large allocation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Entries, hex, key, plain};
use session_core::{Codec, Codecs, ErrorKind, Value};

/// What reading a payload of a kilobyte may take beyond the payload itself.
const ALLOWED: u64 = 64 * 1024;

fn read(codecs: &Codecs, payload: &[u8]) -> session_core::Result<Entries> {
    let mut result = None;
    let used = allocation_counter::measure(|| result = Some(codecs.decode_entries(key(), payload)));
    let result = result.unwrap();
    assert!(used.bytes_max <= ALLOWED, "{} bytes taken to read {}", used.bytes_max, common::to_hex(payload));
    if let Err(error) = &result {
        assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Codec), "{error:?}");
        assert!(error.to_string().len() < 300, "{error}");
    }
    result
}

fn vectors() -> Vec<(Codecs, Vec<u8>)> {
    let mut vectors = Vec::new();
    for codec in plain() {
        let file = match format!("{codec:?}").as_str() {
            "bincode" => include_str!("golden/bincode.hex"),
            "json" => include_str!("golden/json.hex"),
            "msgpack" => include_str!("golden/msgpack.hex"),
            other => unreachable!("{other} has no vector"),
        };
        vectors.push((Codecs::new(codec), hex(file)));
    }
    #[cfg(feature = "seal")]
    vectors.push((Codecs::new(common::sealed(Codec::bincode())), hex(include_str!("golden/sealed.hex"))));
    vectors
}

#[test]
fn every_prefix_of_a_golden_vector_is_an_error() {
    for (codecs, vector) in vectors() {
        for len in 0..vector.len() {
            let error =
                read(&codecs, &vector[..len]).expect_err(&format!("{codecs:?}: {len} bytes were enough"));
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        }
        assert!(read(&codecs, &vector).is_ok());
    }
}

#[test]
fn every_one_bit_change_of_a_golden_vector_is_a_value_or_an_error() {
    for (codecs, vector) in vectors() {
        let (mut values, mut errors) = (0, 0);
        for bit in 0..vector.len() * 8 {
            let mut changed = vector.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            match read(&codecs, &changed) {
                // What is read can be written, so a changed session can be saved again.
                Ok(entries) => {
                    values += 1;
                    codecs.encode_entries(key(), &entries).unwrap();
                }
                Err(_) => errors += 1,
            }
        }
        let sealed = vector[0] == 0x41;
        assert!(errors > 100 && (values > 100) != sealed, "{codecs:?}: {values} values, {errors} errors");
    }
}

#[test]
fn every_byte_put_in_anywhere_is_a_value_or_an_error() {
    for (codecs, vector) in vectors().into_iter().filter(|(_, vector)| vector[0] != 0x41) {
        for at in 0..vector.len() {
            for byte in
                [0, 1, 7, 8, b'"', b'[', b'{', b'\\', 0x7f, 0x80, 0x8f, 0x9f, 0xdd, 0xdf, 250, 251, 253, 255]
            {
                let mut changed = vector.clone();
                changed[at] = byte;
                let _ = read(&codecs, &changed);
                changed.insert(at, byte);
                let _ = read(&codecs, &changed);
            }
        }
    }
}

/// The payload is refused as damaged, with these words.
#[track_caller]
fn damaged(codec: Codec, payload: &[u8], words: &str) {
    let error = read(&Codecs::new(codec), payload).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().ends_with(words), "{error}");
}

const EARLY: &str = "it ends too early";
const ORDER: &str = "its keys are not in strictly ascending order";
const DEEP: &str = "more than 64 lists and maps inside one another";

mod bincode {
    use super::*;

    /// A frame of one entry `n`.
    fn entry(value: &[u8]) -> Vec<u8> {
        assert!(value.len() < 251);
        [&[0x11, 1, 1, b'n', value.len() as u8], value].concat()
    }

    #[track_caller]
    fn bad(payload: &[u8], words: &str) {
        damaged(Codec::bincode(), payload, words);
    }

    #[test]
    fn a_header_that_claims_the_whole_memory_is_refused() {
        for count in
            [&[251, 255, 255][..], &[252, 255, 255, 255, 127], &[253, 255, 255, 255, 255, 255, 255, 255, 127]]
        {
            bad(&[&[0x11][..], count].concat(), EARLY);
            bad(&[&[0x11, 1][..], count].concat(), EARLY);
            bad(&[&[0x11, 1, 1, b'n'][..], count].concat(), EARLY);
            for kind in [5, 6, 7, 8] {
                bad(&entry(&[&[kind][..], count].concat()), EARLY);
            }
        }
        bad(
            &[0x11, 254, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            "a number is cut off or out of range",
        );
        bad(&[0x11, 255], "a number is cut off or out of range");
    }

    #[test]
    fn lists_and_maps_inside_one_another_end_at_64() {
        let nested = |depth: usize| entry(&[[7, 1].repeat(depth), vec![0]].concat());
        assert!(read(&Codecs::default(), &nested(64)).is_ok());
        bad(&nested(65), DEEP);
        let deep = [[7, 1].repeat(1_000_000), vec![0]].concat();
        let len = (deep.len() as u32).to_le_bytes();
        // The payload itself is copied once, and only it: hence not through `read`.
        let payload = [&[0x11, 1, 1, b'n', 252], &len[..], &deep].concat();
        let error = Codecs::default().decode_entries(key(), &payload).unwrap_err();
        assert!(error.to_string().ends_with(DEEP), "{error}");
        // Each level claims as much as there are bytes.
        let greedy: Vec<u8> = (0..64_u8).flat_map(|level| [7, 200 - level * 2]).chain([0; 100]).collect();
        bad(&entry(&greedy), "a number is cut off or out of range");
    }

    #[test]
    fn an_entry_holds_a_million_values_at_most() {
        let nulls = |len: u32| {
            let list = [&[7, 252][..], &len.to_le_bytes(), &vec![0; len as usize]].concat();
            [&[0x11, 1, 1, b'n', 252][..], &(list.len() as u32).to_le_bytes(), &list].concat()
        };
        assert!(Codecs::default().decode_entries(key(), &nulls((1 << 20) - 1)).is_ok());
        let error = Codecs::default().decode_entries(key(), &nulls(1 << 20)).unwrap_err();
        assert!(error.to_string().ends_with("more than 1048576 values in one entry"), "{error}");
    }

    #[test]
    fn keys_ascend_and_are_text_and_nothing_follows() {
        bad(&[0x11, 2, 1, b'b', 1, 0, 1, b'a', 1, 0], ORDER);
        bad(&[0x11, 2, 1, b'a', 1, 0, 1, b'a', 1, 0], ORDER);
        bad(&[0x11, 1, 1, 0xff, 1, 0], "text that is not UTF-8");
        bad(&[0x11, 0, 0], "bytes follow the last entry");
        bad(&[0x11, 1, 1, b'a', 1, 0, 0], "bytes follow the last entry");
        bad(&entry(&[0, 0]), "bytes follow the value");
        bad(&entry(&[]), "a number is cut off or out of range");
        bad(&entry(&[9]), "a kind of value that does not exist");
        bad(&entry(&[1, 2]), "a number is cut off or out of range");
        bad(
            &entry(&[5, 2, 0xc3, 0x28]),
            "session key \"n\": the stored value is damaged: text that is not UTF-8",
        );
    }

    #[test]
    fn an_integer_in_its_other_form_is_put_right() {
        let entries = read(&Codecs::default(), &entry(&[3, 5])).unwrap();
        assert!(matches!(entries["n"], Value::I64(5)));
    }
}

#[cfg(feature = "json")]
mod json {
    use super::*;

    fn framed(text: &str) -> Vec<u8> {
        format!("\x21{text}").into_bytes()
    }

    #[track_caller]
    fn bad(text: &str, words: &str) {
        damaged(Codec::json(), &framed(text), words);
    }

    #[track_caller]
    fn bad_value(text: &str, words: &str) {
        bad(
            &format!("{{\"n\":{text}}}"),
            &format!("session key \"n\": the stored value is damaged: {words}"),
        );
    }

    #[test]
    fn lists_and_maps_inside_one_another_end_at_64() {
        let nested = |depth: usize| format!("{{\"n\":{}0{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&Codecs::new(Codec::json()), &framed(&nested(64))).is_ok());
        bad(&nested(65), DEEP);
        bad(&format!("{{\"n\":{}", "[".repeat(10_000)), EARLY);
        bad(&nested(5_000), DEEP);
        let maps =
            |depth: usize| format!("{{\"n\":{}0{}}}", "{\"$map\":[[".repeat(depth), ",0]]}".repeat(depth));
        assert!(read(&Codecs::new(Codec::json()), &framed(&maps(64))).is_ok());
        bad(&maps(65), DEEP);
        let objects = |depth: usize| format!("{{\"n\":{}0{}}}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert!(read(&Codecs::new(Codec::json()), &framed(&objects(64))).is_ok());
        bad(&objects(65), DEEP);
    }

    #[test]
    fn keys_ascend_and_are_text_and_nothing_follows() {
        bad("{\"b\":1,\"a\":1}", ORDER);
        bad("{\"a\":1,\"a\":1}", ORDER);
        bad("{\"a\":1,\"\\u0061\":1}", ORDER);
        bad("{\"a\":1}}", "text follows the end");
        bad("{\"a\":1} x", "text follows the end");
        bad("[]", "it is not JSON as expected");
        bad("{\"a\":}", "a value is missing");
        bad("{\"a\" 1}", "it is not JSON as expected");
        bad("{a:1}", "it is not JSON as expected");
        bad("{,}", "it is not JSON as expected");
        bad("{\"a\":1,}", "it is not JSON as expected");
        damaged(Codec::json(), b"\x21{\"\xff\":1}", "text that is not UTF-8");
        damaged(Codec::json(), b"\x21{\"a\":\"\xc3\x28\"}", "text that is not UTF-8");
    }

    #[test]
    fn text_numbers_and_words_follow_the_grammar() {
        for number in ["01", "-", "1.", ".5", "1e", "1e+", "--1", "1-1", "1.5.5", "1e5e5", "1e5.5"] {
            let error =
                read(&Codecs::new(Codec::json()), &framed(&format!("{{\"n\":{number}}}"))).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{number}");
        }
        let outside = "a number that neither a 64-bit integer nor a float holds";
        for number in ["18446744073709551616", "-9223372036854775809", "1e999", "-1e999"] {
            bad_value(number, outside);
        }
        let half = "half of a surrogate pair";
        for text in ["\\ud800", "\\ud800x", "\\udc00", "\\ud800\\u0061", "\\ud800\\ud800", "\\ud800\\ue000"] {
            bad_value(&format!("\"{text}\""), half);
        }
        bad_value("\"\\x\"", "an escape that JSON does not have");
        bad_value("\"\\u00g0\"", "an escape that is not four hexadecimal digits");
        bad_value("\"\\u+123\"", "an escape that is not four hexadecimal digits");
        for control in ["\0", "\n", "\u{1f}"] {
            bad_value(&format!("\"a{control}b\""), "a bare control character in text");
        }
        bad_value("nul", "a word that JSON does not have");
        bad_value("NaN", "a word that JSON does not have");
        bad_value("[1 2]", "it is not JSON as expected");
        bad_value("[1,]", "a word that JSON does not have");
        bad_value("[1}", "it is not JSON as expected");
    }

    #[test]
    fn a_value_of_over_a_million_values_is_refused() {
        let object = |pairs| framed(&format!("{{\"n\":{{{}}}}}", vec!["\"\":0"; pairs].join(",")));
        let codecs = Codecs::new(Codec::json());
        // A pair is two values, and the object itself is one.
        assert!(codecs.decode_entries(key(), &object((1 << 19) - 1)).is_ok());
        let error = codecs.decode_entries(key(), &object(1 << 19)).unwrap_err();
        assert!(error.to_string().ends_with("more than 1048576 values in one entry"), "{error}");
    }

    #[test]
    fn other_writers_escapes_are_read() {
        let written = r#"{"n" : "\"\\\/\b\f\n\r\t\u0041\ud83d\ude00" }"#;
        let entries = read(&Codecs::new(Codec::json()), &framed(written)).unwrap();
        assert_eq!(entries.get("n"), Some(&Value::Text("\"\\/\u{8}\u{c}\n\r\tA\u{1f600}".to_owned())));
    }

    #[test]
    fn a_reserved_member_stands_alone_and_holds_what_it_should() {
        let reserved = "a member whose name begins with $, where none is defined";
        bad_value("{\"$new\":1}", reserved);
        for member in ["\"$map\":[]", "\"$bytes\":\"AA==\"", "\"$f64\":\"7ff0000000000000\""] {
            bad_value(&format!("{{\"a\":1,{member}}}"), reserved);
        }
        bad_value("{\"$map\":[],\"a\":1}", "it is not JSON as expected");
        bad_value("{\"$map\":[[1]]}", "it is not JSON as expected");
        bad_value("{\"$map\":[[1,2,3]]}", "it is not JSON as expected");
        bad_value("{\"$bytes\":\"AA\"}", "$bytes that is not padded base64");
        bad_value("{\"$bytes\":\"AB==\"}", "$bytes that is not padded base64");
        bad_value("{\"$bytes\":1}", "it is not JSON as expected");
        bad_value("{\"$f64\":\"7ff\"}", "$f64 that is not 16 hexadecimal digits");
        bad_value("{\"$f64\":\"+ff0000000000000\"}", "$f64 that is not 16 hexadecimal digits");
        bad_value("{\"$serde_json::private::Number\":\"1\"}", reserved);
    }
}

#[cfg(feature = "msgpack")]
mod msgpack {
    use super::*;

    fn entry(value: &[u8]) -> Vec<u8> {
        [&[0x31, 0x81, 0xa1, b'n'], value].concat()
    }

    #[track_caller]
    fn bad(payload: &[u8], words: &str) {
        damaged(Codec::msgpack(), payload, words);
    }

    #[test]
    fn a_header_that_claims_the_whole_memory_is_refused() {
        bad(&[0x31, 0xdf, 255, 255, 255, 255], EARLY);
        bad(&[0x31, 0xde, 255, 255], EARLY);
        for marker in [0xdb, 0xc6, 0xdd, 0xdf] {
            bad(&[0x31, 0x81, marker, 255, 255, 255, 255], EARLY);
            bad(&entry(&[marker, 255, 255, 255, 255]), EARLY);
            bad(&entry(&[0x91, marker, 255, 255, 255, 255]), EARLY);
        }
    }

    #[test]
    fn a_list_gets_room_as_its_items_come() {
        let items = [&[0xa1, 0xff][..], &[0xc0; 4095]].concat();
        bad(&entry(&[&[0xdd, 0, 0, 16, 0][..], &items].concat()), "text that is not UTF-8");
    }

    #[test]
    fn a_value_of_over_a_million_values_is_refused() {
        let list = |len: u32| entry(&[&[0xdd][..], &len.to_be_bytes(), &vec![0xc0; len as usize]].concat());
        let codecs = Codecs::new(Codec::msgpack());
        assert!(codecs.decode_entries(key(), &list((1 << 20) - 1)).is_ok());
        let error = codecs.decode_entries(key(), &list(1 << 20)).unwrap_err();
        assert!(error.to_string().ends_with("more than 1048576 values in one entry"), "{error}");
    }

    #[test]
    fn other_writers_forms_are_read() {
        let text = |text: &str| Value::Text(text.to_owned());
        let one = || Value::I64(1);
        for (bytes, value) in [
            (&[0xca, 0x3f, 0xc0, 0, 0][..], Value::F64(1.5)),
            (&[0xcd, 0, 1], one()),
            (&[0xd3, 0, 0, 0, 0, 0, 0, 0, 1], one()),
            (&[0xd9, 1, b'x'], text("x")),
            (&[0xda, 0, 1, b'x'], text("x")),
            (&[0xdb, 0, 0, 0, 1, b'x'], text("x")),
            (&[0xc5, 0, 1, 7], Value::Bytes(vec![7])),
            (&[0xc6, 0, 0, 0, 1, 7], Value::Bytes(vec![7])),
            (&[0xdc, 0, 1, 1], Value::List(vec![one()])),
            (&[0xdd, 0, 0, 0, 1, 1], Value::List(vec![one()])),
            (&[0xde, 0, 1, 1, 1], Value::Map(vec![(one(), one())])),
            (&[0xdf, 0, 0, 0, 1, 1, 1], Value::Map(vec![(one(), one())])),
        ] {
            let entries = read(&Codecs::new(Codec::msgpack()), &entry(bytes)).unwrap();
            assert_eq!(entries.get("n"), Some(&value), "{bytes:02x?}");
        }
    }

    #[test]
    fn lists_and_maps_inside_one_another_end_at_64() {
        let nested = |depth: usize| entry(&[vec![0x91; depth], vec![0xc0]].concat());
        assert!(read(&Codecs::new(Codec::msgpack()), &nested(64)).is_ok());
        bad(&nested(65), DEEP);
        bad(&nested(10_000), DEEP);
    }

    #[test]
    fn keys_ascend_and_are_text_and_nothing_follows() {
        bad(&[0x31, 0x82, 0xa1, b'b', 1, 0xa1, b'a', 1], ORDER);
        bad(&[0x31, 0x82, 0xa1, b'a', 1, 0xa1, b'a', 1], ORDER);
        bad(&[0x31, 0x82, 0xa1, b'a', 1, 0xd9, 1, b'a', 1], ORDER);
        bad(&[0x31, 0x81, 1, 1], "a key is not text");
        bad(&[0x31, 0x90], "it is not a map");
        bad(&[0x31, 0x80, 0], "bytes follow the last entry");
        bad(&[0x31, 0x81, 0xa1, 0xff, 1], "text that is not UTF-8");
        bad(&entry(&[0xa2, 0xc3, 0x28]), "the stored value is damaged: text that is not UTF-8");
        for extension in [0xc1, 0xc7, 0xd4, 0xd6] {
            bad(&entry(&[extension, 0, 0]), "an extension type, or a byte that MessagePack does not use");
        }
    }
}

#[test]
fn the_first_byte_says_what_to_add() {
    let reads = |payload: &[u8]| read(&Codecs::default(), payload).unwrap_err();
    assert_eq!(reads(&[]).kind(), ErrorKind::Corrupt);
    for (byte, constructor) in [(0x21, "json()"), (0x31, "msgpack()"), (0x41, "sealed(..)")] {
        let error = reads(&[byte, 0]);
        assert_eq!(error.kind(), ErrorKind::Codec);
        let words = error.to_string();
        assert!(words.contains(&format!("0x{byte:02x}")) && words.contains(constructor), "{words}");
    }
    let error = reads(&[0x99, 0]);
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(error.to_string().contains("0x99, which is no codec of this release"), "{error}");
}

/// The check above can fail: a reader that trusts the header takes what it claims.
#[test]
fn the_allocation_counter_counts() {
    let used = allocation_counter::measure(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(1 << 20))));
    assert!(used.bytes_max > ALLOWED);
}
