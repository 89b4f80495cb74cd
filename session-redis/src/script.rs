//! The Lua that makes each operation one atomic step, and what it answers.

use std::sync::LazyLock;

use redis::{Cmd, Value, cmd};

use crate::error::{self, Fault};
use session_core::{Error, Owner};

/// A script and the name under which servers cache it.
pub(crate) struct Script {
    text: String,
    sha: String,
}

macro_rules! script {
    ($name:ident, only $file:literal) => {
        pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!($file)));
    };
    ($name:ident, $file:literal $(, before all else $first:literal)?) => {
        pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!($(include_str!($first),)? include_str!("lua/common.lua"), include_str!($file)))
        });
    };
}

script!(CREATE, "lua/create.lua");
script!(SAVE, "lua/save.lua", before all else "lua/save_first.lua");
script!(SAVE_MANY, only "lua/save_many.lua");
script!(TOUCH, "lua/touch.lua");
script!(DELETE, "lua/delete.lua");
script!(DELETE_OWNED, "lua/delete_owned.lua");

impl Script {
    fn new(text: &str) -> Self {
        // Comments and indentation are for readers of the source, not for the server's memory.
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("--"));
        let text = lines.collect::<Vec<_>>().join("\n");
        let sha = sha1_smol::Sha1::from(&text).hexdigest();
        Self { text, sha }
    }

    /// A call by name. A server that does not know the script answers NOSCRIPT without doing anything.
    pub(crate) fn call(&self, keys: &[&str], args: &[&[u8]]) -> Cmd {
        let keys_len: usize = keys.iter().map(|key| key.len()).sum();
        let args_len: usize = args.iter().map(|arg| arg.len()).sum();
        let mut command = Cmd::with_capacity(3 + keys.len() + args.len(), 64 + keys_len + args_len);
        command.arg("EVALSHA").arg(&self.sha).arg(keys.len()).arg(keys).arg(args);
        command
    }

    /// Makes the server know the script.
    pub(crate) fn load(&self) -> Cmd {
        let mut command = cmd("SCRIPT");
        command.arg("LOAD").arg(&self.text);
        command
    }
}

/// Whether the server does not know the script, and so did nothing.
pub(crate) fn is_unknown(fault: &Fault) -> bool {
    matches!(fault, Fault::Refused(source) if source.code() == Some("NOSCRIPT"))
}

/// What a script did; the numbers stand in `common.lua`.
#[derive(Debug)]
pub(crate) enum Answer {
    Missing,
    Stored,
    Conflict,
    Corrupt,
    /// The index of this owner must be among the keys.
    NeedsIndex(Owner),
}

impl Answer {
    pub(crate) fn read(value: Value) -> Result<Self, Error> {
        match value {
            Value::Int(0) => Ok(Self::Missing),
            Value::Int(1) => Ok(Self::Stored),
            Value::Int(2) => Ok(Self::Conflict),
            Value::Int(3) => Ok(Self::Corrupt),
            Value::BulkString(owner) => String::from_utf8(owner)
                .map_err(|_| error::corrupt("its owner is not text"))
                .and_then(|owner| Owner::new(owner).map_err(|_| error::corrupt("its owner is not one")))
                .map(Self::NeedsIndex),
            _ => Err(error::unexpected_reply()),
        }
    }
}

impl Answer {
    /// For an answer that is no outcome of the operation.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Corrupt => error::corrupt("it does not begin like a session of this version"),
            Self::NeedsIndex(_) => error::index_out_of_reach(),
            Self::Missing | Self::Stored | Self::Conflict => error::unexpected_reply(),
        }
    }
}
