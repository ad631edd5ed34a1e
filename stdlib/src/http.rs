//! As much HTTP/1.1 as the control socket needs, without input or output: heads and bodies.
//!
//! Bytes go in, what they mean comes out; nothing here blocks or waits. Both sides use it, so that
//! they agree. Everything has a limit, for whoever sends may be hostile.

use std::fmt::Write;

/// The most bytes of a head: its first line and its header fields.
pub const MAX_HEAD_BYTES: usize = 16 << 10;
const MAX_FIELDS: usize = 64;
const MAX_CHUNK_LINE_BYTES: usize = 256;

/// Bytes that are not the HTTP that is understood here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// It breaks the protocol.
    #[error("read HTTP: {0}")]
    Broken(&'static str),
    /// It is more than is read.
    #[error("read HTTP: {what} of more than {limit} bytes")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How much is read.
        limit: usize,
    },
}

/// How the end of a body is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    /// After so many bytes.
    Known(u64),
    /// After the last chunk.
    Chunked,
}

/// The head of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestHead {
    /// `GET`, `PUT` …
    pub method: String,
    /// What is asked for, as sent.
    pub target: String,
    /// The bearer token.
    pub bearer: Option<String>,
    /// Where its body ends.
    pub length: Length,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// The connection ends with this exchange.
    pub closes: bool,
}

/// The head of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnswerHead {
    /// The status code.
    pub status: u16,
    /// Where its body ends.
    pub length: Length,
    /// The connection ends with this exchange.
    pub closes: bool,
}

/// Reads the head of a request: how many bytes it takes, and what it says. `None` means that more
/// bytes are needed.
///
/// # Errors
/// When no further bytes can make it a request.
pub fn request_head(bytes: &[u8]) -> Result<Option<(usize, RequestHead)>, Malformed> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let Some(taken) = head_length(request.parse(bytes), bytes)? else { return Ok(None) };
    let said = Said::of(request.headers)?;
    Ok(Some((
        taken,
        RequestHead {
            method: request.method.unwrap_or_default().to_owned(),
            target: request.path.unwrap_or_default().to_owned(),
            bearer: said.bearer,
            length: said.length.unwrap_or(Length::Known(0)),
            expects_continue: said.expects_continue,
            closes: said.closes || request.version == Some(0),
        },
    )))
}

/// Reads the head of an answer, as [`request_head`] does that of a request.
///
/// # Errors
/// When no further bytes can make it an answer.
pub fn answer_head(bytes: &[u8]) -> Result<Option<(usize, AnswerHead)>, Malformed> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    let Some(taken) = head_length(answer.parse(bytes), bytes)? else { return Ok(None) };
    let said = Said::of(answer.headers)?;
    let status = answer.code.unwrap_or_default();
    let bodiless = status < 200 || status == 204 || status == 304;
    let length = match said.length {
        _ if bodiless => Length::Known(0),
        Some(length) => length,
        // Until the connection ends: such a body could be cut off without notice.
        None => return Err(Malformed::Broken("an answer without a length")),
    };
    Ok(Some((taken, AnswerHead { status, length, closes: said.closes })))
}

fn head_length(
    parsed: Result<httparse::Status<usize>, httparse::Error>,
    bytes: &[u8],
) -> Result<Option<usize>, Malformed> {
    let too_large = Malformed::TooLarge { what: "a head", limit: MAX_HEAD_BYTES };
    match parsed {
        Ok(httparse::Status::Complete(taken)) if taken <= MAX_HEAD_BYTES => Ok(Some(taken)),
        Ok(httparse::Status::Partial) if bytes.len() <= MAX_HEAD_BYTES => Ok(None),
        Ok(_) => Err(too_large),
        Err(httparse::Error::TooManyHeaders) => Err(Malformed::Broken("too many header fields")),
        Err(_) => Err(Malformed::Broken("no HTTP/1.1 head")),
    }
}

/// What the header fields say that matters here.
#[derive(Default)]
struct Said {
    bearer: Option<String>,
    length: Option<Length>,
    expects_continue: bool,
    closes: bool,
}

impl Said {
    fn of(fields: &[httparse::Header<'_>]) -> Result<Self, Malformed> {
        let mut said = Self::default();
        for field in fields {
            let value = std::str::from_utf8(field.value)
                .map_err(|_| Malformed::Broken("a header field that is no UTF-8"))?
                .trim();
            match field.name.to_ascii_lowercase().as_str() {
                "content-length" => said.sets_length(Length::Known(whole_number(value)?))?,
                "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => {
                    said.sets_length(Length::Chunked)?;
                }
                "transfer-encoding" => {
                    return Err(Malformed::Broken("a transfer encoding other than chunked"));
                }
                "authorization" if said.bearer.is_some() => {
                    return Err(Malformed::Broken("two authorizations"));
                }
                "authorization" => {
                    said.bearer = value
                        .split_once(' ')
                        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                        .map(|(_, token)| token.trim().to_owned());
                }
                "expect" => said.expects_continue = value.eq_ignore_ascii_case("100-continue"),
                "connection" => {
                    said.closes |=
                        value.split(',').any(|word| word.trim().eq_ignore_ascii_case("close"));
                }
                _ => {}
            }
        }
        Ok(said)
    }

    /// Two lengths, alike or not, are how requests are smuggled: they are refused.
    fn sets_length(&mut self, length: Length) -> Result<(), Malformed> {
        match self.length.replace(length) {
            None => Ok(()),
            Some(_) => Err(Malformed::Broken("two lengths of one body")),
        }
    }
}

fn whole_number(text: &str) -> Result<u64, Malformed> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.ok_or(Malformed::Broken("a content length that is no number"))
}

/// What a body's next bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece {
    /// After `taken` bytes of framing and data, the last `data` of which are the body's.
    Data {
        /// How many bytes are used up.
        taken: usize,
        /// How many of them, at their end, are data.
        data: usize,
    },
    /// More bytes are needed.
    More,
    /// The body has ended.
    End,
}

/// Reads a body piece by piece.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Body(State);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// So many bytes of the body.
    Plain(u64),
    /// The line in front of a chunk.
    ChunkLine,
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    /// Fields behind the last chunk, up to an empty line.
    Trailer,
    Ended,
}

impl Body {
    /// Starts before the first byte of a body.
    #[must_use]
    pub fn new(length: Length) -> Self {
        Self(match length {
            Length::Known(0) => State::Ended,
            Length::Known(bytes) => State::Plain(bytes),
            Length::Chunked => State::ChunkLine,
        })
    }

    /// Whether nothing of it is left.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.0 == State::Ended
    }

    /// Reads on. Bytes that were taken must not be given again.
    ///
    /// # Errors
    /// When the framing of the body is broken.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Piece, Malformed> {
        let mut taken = 0;
        loop {
            let rest = &bytes[taken..];
            match self.0 {
                State::Ended if taken == 0 => return Ok(Piece::End),
                // The framing at the end is used up without any data.
                State::Ended => return Ok(Piece::Data { taken, data: 0 }),
                _ if rest.is_empty() && taken == 0 => return Ok(Piece::More),
                _ if rest.is_empty() => return Ok(Piece::Data { taken, data: 0 }),
                State::Plain(left) => {
                    let data = at_most(rest.len(), left);
                    let left = left - data as u64;
                    self.0 = if left == 0 { State::Ended } else { State::Plain(left) };
                    return Ok(Piece::Data { taken: taken + data, data });
                }
                State::Chunk(left) => {
                    let data = at_most(rest.len(), left);
                    let left = left - data as u64;
                    self.0 = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    return Ok(Piece::Data { taken: taken + data, data });
                }
                State::ChunkLine | State::ChunkEnd | State::Trailer => {
                    let Some(end) = line_end(rest)? else {
                        return Ok(match taken {
                            0 => Piece::More,
                            taken => Piece::Data { taken, data: 0 },
                        });
                    };
                    self.0 = self.after_line(&rest[..end])?;
                    taken += end + 2;
                }
            }
        }
    }

    fn after_line(&self, line: &[u8]) -> Result<State, Malformed> {
        match self.0 {
            State::ChunkLine => Ok(match chunk_size(line)? {
                0 => State::Trailer,
                size => State::Chunk(size),
            }),
            State::ChunkEnd if line.is_empty() => Ok(State::ChunkLine),
            State::ChunkEnd => Err(Malformed::Broken("a chunk longer than it said")),
            State::Trailer if line.is_empty() => Ok(State::Ended),
            State::Trailer => Err(Malformed::Broken("fields behind the last chunk")),
            state @ (State::Plain(_) | State::Chunk(_) | State::Ended) => Ok(state),
        }
    }
}

fn at_most(there: usize, left: u64) -> usize {
    usize::try_from(left).map_or(there, |left| left.min(there))
}

/// Where the first line ends, without its line end.
fn line_end(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n");
    match end {
        Some(end) if end <= MAX_CHUNK_LINE_BYTES => Ok(Some(end)),
        None if bytes.len() <= MAX_CHUNK_LINE_BYTES => Ok(None),
        Some(_) | None => {
            Err(Malformed::TooLarge { what: "a chunk's line", limit: MAX_CHUNK_LINE_BYTES })
        }
    }
}

/// The size in front of a chunk, in hexadecimal digits; extensions behind `;` are passed over.
fn chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let wrong = Malformed::Broken("a chunk without a size");
    let line = std::str::from_utf8(line).map_err(|_| wrong)?;
    let digits = line.split(';').next().unwrap_or_default().trim_end();
    let plain =
        (1..=15).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u64::from_str_radix(digits, 16).ok().filter(|_| plain).ok_or(wrong)
}

/// Writes a name as one part of a path: all but letters, digits, `.`, `_` and `-` as `%xx`.
#[must_use]
pub fn encode(name: &str) -> String {
    let mut part = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
            part.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            write!(part, "%{byte:02X}").ok();
        }
    }
    part
}

/// Reads a part of a path that [`encode`] wrote; `None` where it is none.
#[must_use]
pub fn decode(part: &str) -> Option<String> {
    let mut pieces = part.split('%');
    let mut name = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let digits = piece.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        name.push(u8::from_str_radix(digits?, 16).ok()?);
        name.extend_from_slice(&piece.as_bytes()[2..]);
    }
    String::from_utf8(name).ok()
}

/// Writes the head of a request.
#[must_use]
pub fn write_request(method: &str, target: &str, bearer: &str, length: Length) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: otto\r\n");
    write_field(&mut head, "Authorization", &format!("Bearer {bearer}"));
    write_length(&mut head, length);
    head.push_str("\r\n");
    head.into_bytes()
}

/// Writes the head of an answer.
#[must_use]
pub fn write_answer(status: u16, content_type: &str, length: Length, closes: bool) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    // An answer without content has no length, not even zero.
    if status != 204 {
        write_field(&mut head, "Content-Type", content_type);
        write_length(&mut head, length);
    }
    if closes {
        write_field(&mut head, "Connection", "close");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// Frames data as one chunk. Empty data frames as nothing, because an empty chunk ends a body.
#[must_use]
pub fn write_chunk(data: &[u8]) -> Vec<u8> {
    if data.is_empty() {
        return Vec::new();
    }
    let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
    chunk.extend_from_slice(data);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// What ends a body in chunks.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// What a client waits for that sent `Expect: 100-continue`.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

fn write_length(head: &mut String, length: Length) {
    match length {
        Length::Known(bytes) => write_field(head, "Content-Length", &bytes.to_string()),
        Length::Chunked => write_field(head, "Transfer-Encoding", "chunked"),
    }
}

fn write_field(head: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    write!(head, "{name}: {value}\r\n").ok();
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        413 => "Content Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        507 => "Insufficient Storage",
        _ => "Answer",
    }
}
