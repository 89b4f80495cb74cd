//! Every rule of the contract, on MariaDB as it comes, or on the server that `SESSION_MYSQL_URL` names.

mod support;

use std::process::ExitCode;

use session_conformance::Missing;
use session_conformance::servers::MariaDb;

struct AsItComes;

impl support::Setup for AsItComes {
    const BACKEND: &'static str = "mysql";
    type Server = MariaDb;

    fn start() -> Result<MariaDb, Missing> {
        MariaDb::start(&[])
    }
}

fn main() -> ExitCode {
    support::main_or_given::<AsItComes>()
}
