//! Every rule of the contract, on a Redis Cluster of three masters.

mod harness;

harness::run!("redis-cluster", Cluster, redis);
