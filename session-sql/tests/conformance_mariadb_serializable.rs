//! Every rule of the contract, on MariaDB under `SERIALIZABLE`. Reads that commit by themselves take no locks there,
//! either; those of a transaction would.

mod support;

use std::process::ExitCode;

use session_conformance::Missing;
use session_conformance::servers::MariaDb;

struct Serializable;

impl support::Setup for Serializable {
    const BACKEND: &'static str = "mysql";
    type Server = MariaDb;

    fn start() -> Result<MariaDb, Missing> {
        MariaDb::start(&["--transaction-isolation=SERIALIZABLE"])
    }
}

fn main() -> ExitCode {
    support::main::<Serializable>()
}
