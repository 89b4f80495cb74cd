//! The smallest client that can load a server: one connection, one request at a time, every answer read to its end.

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    /// `name=value`, when the server set one.
    pub(crate) cookie: Option<&'a str>,
    pub(crate) body: &'a str,
}

impl Answer<'_> {
    /// Unless the server says that something went wrong.
    pub(crate) fn right(self) -> Result<Self> {
        ensure!(self.status == 200, "{} {}", self.status, self.body);
        Ok(self)
    }
}

impl Connection {
    pub(crate) async fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: Vec::new(), answer: Vec::new() })
    }

    pub(crate) async fn get(&mut self, path: &str, cookie: &str) -> Result<Answer<'_>> {
        self.request.clear();
        for part in ["GET ", path, " HTTP/1.1\r\nHost: bench.example\r\nCookie: ", cookie, "\r\n\r\n"] {
            self.request.extend_from_slice(part.as_bytes());
        }
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.answer).await?;
            ensure!(read > 0, "{path}: the server closed the connection");
            if is_whole(&self.answer)? {
                break;
            }
        }
        parse(&self.answer)
    }
}

const HEADERS: usize = 32;

/// Whether head and body are there.
fn is_whole(answer: &[u8]) -> Result<bool> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let httparse::Status::Complete(head) = httparse::Response::new(&mut headers).parse(answer)? else {
        return Ok(false);
    };
    Ok(answer.len() >= head + content_length(&headers)?)
}

fn content_length(headers: &[httparse::Header<'_>]) -> Result<usize> {
    let length = headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    Ok(std::str::from_utf8(length.context("an answer without a length")?.value)?.parse()?)
}

fn parse(answer: &[u8]) -> Result<Answer<'_>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(answer)? else { bail!("half an answer") };
    let status = response.code.context("no status")?;
    let body = std::str::from_utf8(&answer[head..])?;
    let cookie = headers.iter().find(|header| header.name.eq_ignore_ascii_case("set-cookie"));
    let cookie = cookie.map(|header| std::str::from_utf8(header.value)).transpose()?;
    Ok(Answer { status, cookie: cookie.and_then(|cookie| cookie.split(';').next()), body })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nSet-Cookie: id=7; HttpOnly\r\ncontent-length: 2\r\n\r\n42";

    #[test]
    fn an_answer_is_whole_with_its_last_byte_and_not_before() {
        for end in 0..ANSWER.len() {
            assert!(!is_whole(&ANSWER[..end]).unwrap(), "{end}");
        }
        assert!(is_whole(ANSWER).unwrap());
    }

    #[test]
    fn an_answer_gives_its_cookie_and_its_body() {
        let answer = parse(ANSWER).unwrap().right().unwrap();
        assert_eq!((answer.cookie, answer.body), (Some("id=7"), "42"));
    }

    #[test]
    fn an_error_of_the_server_is_an_error() {
        assert!(parse(b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\n42").unwrap().right().is_err());
    }
}
