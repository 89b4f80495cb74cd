//! Every rule of the contract, on Redis, with operations that go together whenever two of a kind are under way.

mod harness;

harness::run!("redis", Together, redis);
