//! Every rule of the contract, on Valkey.

mod harness;

harness::run!("valkey", Node, valkey);
