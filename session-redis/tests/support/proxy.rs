//! A forwarder to a server, which can hold back what the server answers, or lose it.

use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

pub(crate) struct Proxy {
    port: u16,
    answers: Arc<Answers>,
}

#[derive(Default)]
struct Answers {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What is done with the answers after so many more; all pass when there is nothing.
    then: Option<(usize, Then)>,
    /// Whether an answer is held back.
    holds: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Then {
    Hold,
    Lose,
}

impl Proxy {
    /// Ends with the test process.
    pub(crate) fn start(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = Arc::new(Answers::default());
        let shared = Arc::clone(&answers);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, answers) = (client.unwrap(), Arc::clone(&shared));
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).unwrap();
                let (questions, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || forward(questions, to, || true));
                thread::spawn(move || forward(server, client, || answers.pass()));
            }
        });
        Self { port, answers }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Lets so many answers through and holds back what follows, until [`release`](Self::release).
    pub(crate) fn hold_after(&self, answers: usize) {
        self.answers.state.lock().unwrap().then = Some((answers, Then::Hold));
    }

    /// Lets so many answers through and closes the connection in place of the next one.
    pub(crate) fn lose_after(&self, answers: usize) {
        self.answers.state.lock().unwrap().then = Some((answers, Then::Lose));
    }

    /// Returns once an answer is held back.
    pub(crate) async fn holds(&self) {
        while !self.answers.state.lock().unwrap().holds {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(crate) fn release(&self) {
        *self.answers.state.lock().unwrap() = State::default();
        self.answers.changed.notify_all();
    }
}

impl Answers {
    /// Whether an answer that has come is passed on; waits while it is held back.
    fn pass(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        match &mut state.then {
            None => return true,
            Some((more, _)) if *more > 0 => {
                *more -= 1;
                return true;
            }
            Some((_, Then::Lose)) => {
                state.then = None;
                return false;
            }
            Some((_, Then::Hold)) => state.holds = true,
        }
        drop(self.changed.wait_while(state, |state| state.holds).unwrap());
        true
    }
}

/// Passes on what comes, until one side closes or a part of it is not to pass.
fn forward(mut from: TcpStream, mut to: TcpStream, passes: impl Fn() -> bool) {
    let mut bytes = vec![0; 256 * 1024];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        if !passes() || to.write_all(&bytes[..len]).is_err() {
            break;
        }
    }
    // The other side may be gone already.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
