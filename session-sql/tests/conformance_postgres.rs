//! Every rule of the contract, on PostgreSQL as it comes, or on the server that `SESSION_POSTGRES_URL` names.

mod support;

use std::process::ExitCode;

use session_conformance::Missing;
use session_conformance::servers::Postgres;

struct AsItComes;

impl support::Setup for AsItComes {
    const BACKEND: &'static str = "postgres";
    type Server = Postgres;

    fn start() -> Result<Postgres, Missing> {
        Postgres::start(&[])
    }
}

fn main() -> ExitCode {
    support::main_or_given::<AsItComes>()
}
