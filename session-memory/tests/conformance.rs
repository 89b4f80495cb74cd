//! Every rule of the contract.

use std::process::ExitCode;
use std::sync::Arc;

use session_conformance::{Capability, Harness};
use session_core::{Result, SessionStore};
use session_memory::MemoryStore;

struct Memory;

#[async_trait::async_trait]
impl Harness for Memory {
    const BACKEND: &'static str = "memory";
    const CAPABILITIES: &'static [Capability] =
        &[Capability::Shared, Capability::OwnerIndex, Capability::SweepsOnWrite];
    type Namespace = MemoryStore;

    async fn namespace(&self) -> Result<MemoryStore> {
        Ok(MemoryStore::default())
    }

    async fn open(&self, namespace: &MemoryStore) -> Result<Arc<dyn SessionStore>> {
        Ok(Arc::new(namespace.clone()))
    }
}

fn main() -> ExitCode {
    session_conformance::main(|| Ok(Memory))
}
