//! Every rule of the contract, on a Redis server found through Sentinels.

mod harness;

harness::run!("redis-sentinel", Watched, redis);
