//! Every rule of the contract, on Redis.

mod harness;

harness::run!("redis", Node, redis);
