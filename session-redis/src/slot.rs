//! The slots of a cluster, into which names of keys fall.

/// Slots of every cluster.
const SLOTS: u16 = 16_384;

/// What decides the slot of a name: the text in the first pair of braces, if it is not empty.
pub(crate) fn tag(name: &str) -> Option<&str> {
    let (_, rest) = name.split_once('{')?;
    rest.split_once('}').map(|(tag, _)| tag).filter(|tag| !tag.is_empty())
}

/// The slot of a name.
pub(crate) fn of(name: &[u8]) -> u16 {
    let text = std::str::from_utf8(name).ok().and_then(tag);
    crc16(text.map_or(name, str::as_bytes)) % SLOTS
}

/// `count` beginnings of names, of which each falls into a slot of its own `count`th part of all slots.
pub(crate) fn spread(prefix: &str, count: usize) -> Vec<String> {
    let mut heads = vec![None; count];
    let mut missing = count;
    for number in 0_u32.. {
        if missing == 0 {
            break;
        }
        let head = format!("{prefix}{{{number}}}");
        let place = usize::from(of(head.as_bytes())) * count / usize::from(SLOTS);
        if let Some(free @ None) = heads.get_mut(place) {
            *free = Some(head);
            missing -= 1;
        }
    }
    heads.into_iter().flatten().collect()
}

/// CRC-16/XMODEM, as the cluster's specification has it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |mut crc, byte| {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
        }
        crc
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // As `CLUSTER KEYSLOT` answers.
        assert_eq!(of(b"foo"), 12_182);
        assert_eq!(of(b"{user1000}.following"), of(b"{user1000}.followers"));
        assert_eq!(of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(of(b"foo{{bar}}zap"), crc16(b"{bar") % SLOTS);
    }
}
