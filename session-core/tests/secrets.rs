//! No id and no value in anything that is written down.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};

use session_core::{Owner, SessionId};
use support::{Fault, bench};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_id_and_no_value_is_traced_printed_or_put_into_an_error() {
    let output = Captured::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_writer(output.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut ids = Vec::new();
    let note = |text: String| output.clone().write_all(text.as_bytes()).unwrap();

    let bench = bench();
    let unknown = SessionId::generate().unwrap();
    let session = bench.manager.open(Some(&unknown)).await.unwrap();
    session.insert("card", "4111-1111").unwrap();
    let _ = bench.manager.commit(&session).await.unwrap();
    ids.extend([unknown, session.id().unwrap()]);
    session.set_owner(Some(Owner::new("ada").unwrap()));
    let _ = bench.manager.commit(&session).await.unwrap();
    ids.extend(session.id());
    note(format!("{session:?} {:?} {:?}", bench.manager, bench.manager.sessions(None, 9).await.unwrap()));
    session.insert("card", "4111-2222").unwrap();
    bench.store.fail_next(Fault::AnswerLost);
    note(format!("{:?}", bench.manager.commit(&session).await.unwrap_err()));
    note(format!("{:?}", session.get::<bool>("card").unwrap_err()));
    session.destroy();
    let _ = bench.manager.commit(&session).await.unwrap();

    let written = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
    for word in ["session created", "session id rotated", "session destroyed", "unknown or expired"] {
        assert!(written.contains(word), "{word:?} was not captured: {written}");
    }
    for id in &ids {
        assert!(written.contains(&id.key().to_string()), "the key is what logs are searched by");
        let text = id.expose();
        assert!(!written.contains(&text) && !written.contains(&text[..8]), "{written}");
    }
    assert!(!written.contains("4111"), "{written}");
}
