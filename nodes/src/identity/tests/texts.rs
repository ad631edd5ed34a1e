//! What comes from outside: tokens, names, requests, certificates. Nothing of it panics.

use super::town::fresh_request;
use crate::identity::authority::PublicKey;
use crate::identity::subject::{self, Subject};
use crate::identity::token::{Purpose, Token, TokenError, user_token};
use crate::rpc::join::{Enrol, Join, Joined, Renew};
use crate::wire::codec::decode;
use otto_core::cluster::state::{Holder, JoinRole};
use otto_core::ids::{AgentId, ClusterId, KeyId, NodeId};
use proptest::prelude::*;
use rustls::pki_types::CertificateDer;

fn purpose() -> impl Strategy<Value = Purpose> {
    prop_oneof![
        Just(Purpose::Join(JoinRole::Control)),
        Just(Purpose::Join(JoinRole::Agent)),
        Just(Purpose::SignIn),
    ]
}

fn drawn(purpose: Purpose) -> Token {
    Token::draw(purpose, KeyId([5; 32])).unwrap()
}

#[test]
fn a_token_is_told_from_what_is_none() {
    let token = drawn(Purpose::Join(JoinRole::Control));
    let text = token.reveal().to_string();
    assert_eq!((text.len(), &text[..4]), (89, "OT1-"));
    let check =
        |text: &str, error: TokenError| assert_eq!(Token::parse(text), Err(error), "{text}");
    check("", TokenError::NoToken);
    check("hello", TokenError::NoToken);
    check("ÖT1-", TokenError::NoToken);
    check(&text.replacen("OT1", "OT2", 1), TokenError::Later { prefix: "OT2-".to_owned() });
    check(&text[..88], TokenError::Length { found: 88 });
    check(&format!("{text}0"), TokenError::Length { found: 90 });
    check(&format!("{text}!"), TokenError::Character { place: 90, found: '!' });
    check(&format!("OT1-é{}", &text[5..]), TokenError::Character { place: 5, found: 'é' });
    check(&text.replacen("OT1", "OU1", 1), TokenError::Mistyped);
    assert_eq!(Token::parse(&format!(" {}\n", text.to_lowercase())), Ok(token.clone()));
    assert_ne!(drawn(token.purpose).hash(), drawn(token.purpose).hash());
    assert!(!format!("{token:?}").contains(&text[10..]), "secrets are not printed");
    assert_eq!(user_token(&text), None);
    let signs_in = drawn(Purpose::SignIn);
    assert_eq!(user_token(&signs_in.reveal()), Some(signs_in.hash()));
}

#[test]
fn there_is_one_name_for_each_subject() {
    let cluster = ClusterId([0xab; 16]);
    let node = Subject { cluster, holder: Holder::Node(NodeId(3)) };
    let agent = Subject { cluster, holder: Holder::Agent(AgentId([1; 16])) };
    for subject in [node, agent] {
        assert_eq!(Subject::parse(&subject.to_string()), Some(subject));
    }
    let text = node.to_string();
    for wrong in [
        text.replace("/3?", "/03?"),
        text.replace("/3?", "/+3?"),
        text.replace("role=control", "role=agent"),
        text.replace("otto:", "http:"),
        text.replace("ab", "AB"),
        format!("{text}&role=agent"),
        agent.to_string().replace("agent/", "node/"),
    ] {
        assert_eq!(Subject::parse(&wrong), None, "{wrong}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tokens_read_back_and_one_wrong_character_is_noticed(
        purpose in purpose(), place in 4..89usize, letter in "[0-9A-HJKMNP-TV-Z]",
    ) {
        let token = drawn(purpose);
        let text = token.reveal().to_string();
        prop_assert_eq!(Token::parse(&text), Ok(token.clone()));
        let mut wrong = text.clone();
        wrong.replace_range(place..=place, &letter);
        if wrong != text {
            prop_assert_eq!(Token::parse(&wrong), Err(TokenError::Mistyped));
        }
    }

    #[test]
    fn any_text_is_no_token(text in "(O[TU][0-9]-)?\\PC{0,120}") {
        prop_assert!(Token::parse(&text).is_err());
        prop_assert!(Subject::parse(&text).is_none());
    }

    #[test]
    fn any_bytes_are_no_request(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(PublicKey::of_request(&bytes).is_err());
        prop_assert!(subject::read(&CertificateDer::from(bytes.clone())).is_err());
        // Some bytes are a record, and none is a reason to panic.
        decode::<Join>(&bytes).ok();
        decode::<Enrol>(&bytes).ok();
        decode::<Renew>(&bytes).ok();
        decode::<Joined>(&bytes).ok();
    }

    /// Around what is signed a byte may matter to nobody; the key is inside.
    #[test]
    fn nobody_proves_another_key_by_a_wrong_byte(place in any::<u16>(), by in 1..=255u8) {
        let mut request = fresh_request();
        let key = PublicKey::of_request(&request).unwrap().fingerprint();
        let place = usize::from(place) % request.len();
        request[place] ^= by;
        if let Ok(other) = PublicKey::of_request(&request) {
            prop_assert_eq!(other.fingerprint(), key);
        }
    }
}
