//! Every rule of the contract, on MariaDB as it comes.

#[path = "support/mariadb.rs"]
mod mariadb;
mod support;

use std::process::ExitCode;

struct AsItComes;

impl mariadb::Options for AsItComes {
    const OPTIONS: &'static [&'static str] = &[];
}

fn main() -> ExitCode {
    session_conformance::main(support::Server::<mariadb::Started<AsItComes>>::start)
}
