//! Every rule of the contract, on Redis, or on the server that `SESSION_REDIS_URL` names.

mod harness;

use std::process::ExitCode;

use session_conformance::servers::{self, redis::RedisProgram};

harness::backend!(Ours, "redis", Node);
harness::backend!(Theirs, "redis", Given, harness::Given::CAPABILITIES);

fn main() -> ExitCode {
    match servers::given("redis") {
        Some(url) => session_conformance::main(|| Ok(Theirs(harness::Given(url)))),
        None => session_conformance::main(|| harness::Node::start(RedisProgram::redis()).map(Ours)),
    }
}
