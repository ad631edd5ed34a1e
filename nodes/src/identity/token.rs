//! Tokens as people pass them on: `OT1-…` lets a node or an agent in, `OU1-…` signs a person in.
//!
//! Behind the prefix are 53 bytes in Crockford's base 32, which has no letters that look alike:
//! what the token is for (1), its secret (32), the beginning of the fingerprint of the cluster's
//! authority (16), and a checksum over all of it (4), by which a slip of the pen is told from a
//! wrong token. With the fingerprint a newcomer knows whom it talks to before it shows the secret:
//! nobody can make another authority with the same 128 bits.

use super::IdentityError;
use otto_core::cluster::state::JoinRole;
use otto_core::ids::{KeyId, TokenHash};
use std::fmt;
use zeroize::Zeroizing;

/// What a token is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To join a cluster.
    Join(JoinRole),
    /// To sign in.
    SignIn,
}

/// The beginning of the fingerprint of a cluster's authority.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pin([u8; PIN]);

impl Pin {
    /// The pin of an authority.
    #[must_use]
    pub fn of(authority: KeyId) -> Self {
        let mut pin = [0; PIN];
        pin.copy_from_slice(&authority.0[..PIN]);
        Self(pin)
    }
}

/// A token with its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is for.
    pub purpose: Purpose,
    /// The authority of the cluster that it is for.
    pub pin: Pin,
    secret: Zeroizing<[u8; SECRET]>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({:?}, {})", self.purpose, self.hash().short())
    }
}

/// Why a text is no token. Worded to fit behind "failed to".
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// It begins with something else.
    #[error("read the token: it does not begin with {JOIN} or {SIGN_IN}")]
    NoToken,
    /// It was made by a later release.
    #[error("read the token: it begins with {prefix}, so a later release made it")]
    Later {
        /// What it begins with.
        prefix: String,
    },
    /// It was cut, or something was added.
    #[error("read the token: it has {found} characters, and a token has {LENGTH}")]
    Length {
        /// How many it has.
        found: usize,
    },
    /// It holds a character that no token has.
    #[error("read the token: its character {place} is '{found}', which no token has")]
    Character {
        /// Which one, counted from 1.
        place: usize,
        /// What it is.
        found: char,
    },
    /// Its checksum differs.
    #[error("read the token: a character of it was mistyped")]
    Mistyped,
}

/// The bytes of a secret: 256 bits.
pub const SECRET: usize = 32;
const PIN: usize = 16;
const CHECKSUM: usize = 4;
const BYTES: usize = 1 + SECRET + PIN + CHECKSUM;
/// The characters behind the prefix.
const DIGITS: usize = (BYTES * 8).div_ceil(5);
const JOIN: &str = "OT1-";
const SIGN_IN: &str = "OU1-";
const LENGTH: usize = JOIN.len() + DIGITS;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl Token {
    /// A new token with a secret that nobody can guess.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn draw(purpose: Purpose, authority: KeyId) -> Result<Self, IdentityError> {
        let mut secret = Zeroizing::new([0; SECRET]);
        super::random(&mut *secret)?;
        Ok(Self { purpose, pin: Pin::of(authority), secret })
    }

    /// What the cluster keeps of it.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&*self.secret)
    }

    /// Its secret.
    #[must_use]
    pub fn secret(&self) -> &[u8; SECRET] {
        &self.secret
    }

    /// The text that is passed on.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        let (prefix, role) = match self.purpose {
            Purpose::Join(JoinRole::Control) => (JOIN, 1),
            Purpose::Join(JoinRole::Agent) => (JOIN, 2),
            Purpose::SignIn => (SIGN_IN, 3),
        };
        let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES));
        bytes.push(role);
        bytes.extend_from_slice(&*self.secret);
        bytes.extend_from_slice(&self.pin.0);
        let checksum = checksum(prefix, &bytes);
        bytes.extend_from_slice(&checksum);
        let mut text = Zeroizing::new(String::with_capacity(LENGTH));
        text.push_str(prefix);
        write_digits(&bytes, &mut text);
        text
    }

    /// Reads a text back. Small letters count as large ones, `O` as `0`, `I` and `L` as `1`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let (prefix, digits) = split(text)?;
        let found = text.chars().count();
        let bytes = read_digits(digits)?;
        if digits.len() != DIGITS {
            return Err(TokenError::Length { found });
        }
        let (payload, sum) = bytes.split_at(BYTES - CHECKSUM);
        if sum != checksum(prefix, payload) {
            return Err(TokenError::Mistyped);
        }
        let purpose = match (prefix, payload[0]) {
            (JOIN, 1) => Purpose::Join(JoinRole::Control),
            (JOIN, 2) => Purpose::Join(JoinRole::Agent),
            (SIGN_IN, 3) => Purpose::SignIn,
            (_, _) => return Err(TokenError::Later { prefix: prefix.to_owned() }),
        };
        let mut secret = Zeroizing::new([0; SECRET]);
        secret.copy_from_slice(&payload[1..=SECRET]);
        let mut pin = [0; PIN];
        pin.copy_from_slice(&payload[1 + SECRET..]);
        Ok(Self { purpose, pin: Pin(pin), secret })
    }
}

/// The hash under which a text would sign somebody in; `None` for what is no such token.
pub(crate) fn user_token(text: &str) -> Option<TokenHash> {
    let token = Token::parse(text).ok()?;
    (token.purpose == Purpose::SignIn).then(|| token.hash())
}

/// The prefix and the digits behind it.
fn split(text: &str) -> Result<(&'static str, &str), TokenError> {
    let Some((prefix, digits)) = text.split_at_checked(JOIN.len()) else {
        return Err(TokenError::NoToken);
    };
    let upper = prefix.to_ascii_uppercase();
    match upper.as_bytes() {
        b"OT1-" => Ok((JOIN, digits)),
        b"OU1-" => Ok((SIGN_IN, digits)),
        [b'O', b'T' | b'U', b'2'..=b'9', b'-'] => Err(TokenError::Later { prefix: upper }),
        _ => Err(TokenError::NoToken),
    }
}

fn checksum(prefix: &str, payload: &[u8]) -> [u8; CHECKSUM] {
    let hash = blake3::Hasher::new().update(prefix.as_bytes()).update(payload).finalize();
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&hash.as_bytes()[..CHECKSUM]);
    sum
}

/// Five bits a digit, the most significant first; the last digit is filled up with zeros.
fn write_digits(bytes: &[u8], text: &mut String) {
    let bit = |place: usize| bytes.get(place / 8).map_or(0, |byte| (byte >> (7 - place % 8)) & 1);
    for digit in 0..(bytes.len() * 8).div_ceil(5) {
        let value = (0..5).fold(0, |value, place| value << 1 | bit(digit * 5 + place));
        text.push(char::from(ALPHABET[usize::from(value)]));
    }
}

/// The bytes of digits. Bits beyond them must be zero, so that there is one text for each token.
fn read_digits(digits: &str) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let mut bytes = Zeroizing::new(vec![0; BYTES]);
    for (index, found) in digits.chars().enumerate() {
        let wrong = || TokenError::Character { place: JOIN.len() + index + 1, found };
        let value = digit(found).ok_or_else(wrong)?;
        for place in 0..5 {
            let bit = index * 5 + place;
            let set = value >> (4 - place) & 1;
            match bytes.get_mut(bit / 8) {
                Some(byte) => *byte |= set << (7 - bit % 8),
                None if set == 1 && index < DIGITS => return Err(TokenError::Mistyped),
                None => {}
            }
        }
    }
    Ok(bytes)
}

fn digit(letter: char) -> Option<u8> {
    let plain = match letter.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let place = ALPHABET.iter().position(|known| char::from(*known) == plain)?;
    u8::try_from(place).ok()
}
