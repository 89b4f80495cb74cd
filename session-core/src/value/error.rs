//! What can go wrong between a type and a value, told without showing the value.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Expected, Unexpected};

use super::OverBounds;
use crate::{Error, ErrorKind};

/// An error between a type and a value: where in the value, and what.
#[derive(Debug)]
pub(crate) struct ValueError {
    message: Cow<'static, str>,
    /// Innermost first.
    path: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Field(&'static str),
    Index(usize),
    /// A value of a map; its key is not shown, for it is data.
    Entry,
}

impl ValueError {
    pub(super) fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: message.into(), path: Vec::new() }
    }

    pub(super) fn in_field(mut self, name: &'static str) -> Self {
        self.path.push(Step::Field(name));
        self
    }

    pub(super) fn in_item(mut self, index: usize) -> Self {
        self.path.push(Step::Index(index));
        self
    }

    pub(super) fn in_entry(mut self) -> Self {
        self.path.push(Step::Entry);
        self
    }

    /// The error of the session's entry `key`.
    pub(super) fn with_key(self, key: &str) -> Error {
        Error::new(ErrorKind::Codec, format!("session key {key:?}{}: {}", Path(&self.path), self.message))
    }

    /// The error of a value that no session holds.
    pub(super) fn without_key(self) -> Error {
        Error::new(ErrorKind::Codec, format!("value{}: {}", Path(&self.path), self.message))
    }
}

/// Shows ` at roles[3].name`, or nothing for the value itself.
struct Path<'a>(&'a [Step]);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.0.iter().rev().enumerate() {
            if place == 0 {
                f.write_str(" at ")?;
            }
            match step {
                Step::Field(name) if place == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Entry => f.write_str("[..]")?,
            }
        }
        Ok(())
    }
}

impl From<OverBounds> for ValueError {
    fn from(bound: OverBounds) -> Self {
        Self::new(bound.as_str())
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ValueError {}

impl serde::ser::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}

/// None of these shows what was found, only what kind of thing it was.
impl serde::de::Error for ValueError {
    /// The words of a type's own `Deserialize` may quote the value ("invalid character x"), so they are not kept.
    /// The two that serde's derive writes name types only.
    fn custom<T: fmt::Display>(message: T) -> Self {
        const OF_SERDE: [&str; 2] =
            ["data did not match any variant of untagged enum ", "no variant of enum "];
        let message = message.to_string();
        if OF_SERDE.iter().any(|start| message.starts_with(start)) {
            Self::new(message)
        } else {
            Self::new("the type refused the stored value")
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {expected}, found {}", kind(&found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {expected}, found {} that is not one", kind(&found)))
    }

    fn invalid_length(len: usize, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {expected}, found length {len}"))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("expected variant {}, found another", OneOf(expected)))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("expected field {}, found another", OneOf(expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("field `{field}` is missing"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("field `{field}` is there twice"))
    }
}

fn kind(found: &Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "bool",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "integer",
        Unexpected::Float(_) => "float",
        Unexpected::Char(_) | Unexpected::Str(_) => "text",
        Unexpected::Bytes(_) => "bytes",
        Unexpected::Unit | Unexpected::Option => "null",
        Unexpected::Seq => "list",
        Unexpected::Map => "map",
        _ => "another kind of value",
    }
}

/// Shows `` `a`, `b` or `c` ``, or `of no name`.
struct OneOf(&'static [&'static str]);

impl fmt::Display for OneOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((last, others)) = self.0.split_last() else { return f.write_str("of no name") };
        for (place, name) in others.iter().enumerate() {
            if place > 0 {
                f.write_str(", ")?;
            }
            write!(f, "`{name}`")?;
        }
        if !others.is_empty() {
            f.write_str(" or ")?;
        }
        write!(f, "`{last}`")
    }
}
