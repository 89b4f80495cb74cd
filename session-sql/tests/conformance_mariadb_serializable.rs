//! Every rule of the contract, on MariaDB under `SERIALIZABLE`, where each read takes locks, too.

#[path = "support/mariadb.rs"]
mod mariadb;
mod support;

use std::process::ExitCode;

struct Serializable;

impl mariadb::Options for Serializable {
    const OPTIONS: &'static [&'static str] = &["--transaction-isolation=SERIALIZABLE"];
}

fn main() -> ExitCode {
    session_conformance::main(support::Server::<mariadb::Started<Serializable>>::start)
}
