//! Every rule of the contract, on Valkey, with operations that go together whenever two of a kind are under way.

mod harness;

harness::run!("valkey", Together, valkey);
