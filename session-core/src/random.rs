//! Random bytes of the operating system.

use crate::{Error, ErrorKind, Result};

pub(crate) fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0_u8; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(ErrorKind::Unavailable, "the operating system gave no random bytes").with_source(error)
    })?;
    Ok(bytes)
}
