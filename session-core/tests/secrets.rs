//! No id and no value in anything that is written down.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};

use session_core::{Event, Outcome, SessionId};
use support::{Fault, MINUTE, ada, bench_with};
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

    let bench = bench_with(|policy| policy.with_renewal_after(Some(MINUTE)));
    let told = output.clone();
    let manager = bench.manager.clone().with_observer(move |event: Event| {
        told.clone().write_all(format!("{event:?}").as_bytes()).unwrap();
    });
    let unknown = SessionId::generate().unwrap();
    let session = manager.open(Some(&unknown)).await.unwrap();
    session.insert("card", "4111-1111").unwrap();
    let _ = manager.commit(&session).await.unwrap();
    ids.extend([unknown, session.id().unwrap()]);
    session.sign_in(ada());
    let _ = manager.commit(&session).await.unwrap();
    ids.extend(session.id());
    bench.clock.advance(2 * MINUTE);
    let session = manager.open(session.id().as_ref()).await.unwrap();
    let renewed = manager.commit(&session).await.unwrap();
    assert_eq!(renewed.outcome, Outcome::Rotated);
    ids.extend(session.id());
    let superseded = manager.open(Some(&ids[1])).await.unwrap();
    superseded.destroy();
    note(format!("{superseded:?} {:?}", manager.commit(&superseded).await.unwrap_err()));
    note(format!("{session:?} {:?} {:?}", manager, manager.sessions(None, 9).await.unwrap()));
    note(format!("{:?} {renewed:?}", session.status()));
    session.insert("card", "4111-2222").unwrap();
    bench.store.fail_next(Fault::AnswerLost);
    note(format!("{:?}", manager.commit(&session).await.unwrap_err()));
    note(format!("{:?}", session.get::<bool>("card").unwrap_err()));
    session.destroy();
    let _ = manager.commit(&session).await.unwrap();
    // The observer's thread ends once nobody tells it anything any more.
    drop(manager);
    while !String::from_utf8_lossy(&output.0.lock().unwrap()).contains("Ended(Destroyed)") {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }

    let written = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
    for word in
        ["session created", "session id changed", "session ended", "unknown or expired", "does not open"]
    {
        assert!(written.contains(word), "{word:?} was not captured: {written}");
    }
    for id in &ids {
        assert!(written.contains(&id.key().to_string()), "the key is what logs are searched by");
        let text = id.expose();
        let (_, secret) = text.split_at(22);
        assert!(!written.contains(secret) && !written.contains(&secret[..8]), "{written}");
    }
    assert!(!written.contains("4111"), "{written}");
}
