//! People: a token leads to whichever node of its cluster answers, and to no other.

use super::town::{Town, admin};
use crate::client::{AnyNode, Client};
use crate::identity::token::Token;
use crate::wire::hello::Build;
use otto_core::cluster::command::Wish;
use otto_core::cluster::state::UserRole;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// An address at which nobody listens.
async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A machine that takes connections, and says this and nothing else.
async fn stranger(says: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut guests = Vec::new();
        while let Ok((mut guest, _)) = listener.accept().await {
            guest.write_all(says).await.ok();
            guests.push(guest);
        }
    });
    address
}

/// A client with a token, by these addresses.
fn client(town: &Town, token: &Token, addresses: Vec<String>) -> (Client, Arc<AnyNode>) {
    let doors = Arc::new(AnyNode::new(addresses, token.pin, town.clock.clone()));
    let text = token.reveal();
    let client = Client::signed_in(doors.clone(), Build::default(), text.as_str());
    (client.patience(Duration::from_millis(300)), doors)
}

#[tokio::test]
async fn whichever_node_answers_is_spoken_with() {
    let town = Town::found().await;
    let token = town.user("bob", UserRole::User);
    let (gone, silent) = (nowhere().await, stranger(b"").await);
    let dumb = stranger(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let here = town.address.clone();
    for addresses in [
        vec![here.clone()],
        vec![gone.clone(), here.clone()],
        vec![silent.clone(), gone, here.clone()],
        vec![dumb, here.clone(), silent],
    ] {
        let (client, _) = client(&town, &token, addresses.clone());
        assert!(client.status().await.is_ok(), "{addresses:?}");
        client.disconnect().await;
        assert!(client.status().await.is_ok(), "{addresses:?}, again");
    }
}

#[tokio::test]
async fn a_token_is_shown_to_its_own_cluster_only() {
    let (town, other) = (Town::found().await, Town::found().await);
    let token = town.user("bob", UserRole::User);
    let dumb = stranger(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    for (addresses, part) in [
        (vec![other.address.clone()], "it is a node of another cluster than the token is for"),
        (vec![dumb], "does not speak TLS"),
        (vec![nowhere().await], "onnection refused"),
        (vec![nowhere().await, other.address.clone()], "onnection refused"),
        (Vec::new(), "no address of the cluster is known"),
    ] {
        let (client, _) = client(&town, &token, addresses.clone());
        let refused = client.status().await.unwrap_err().to_string();
        assert!(refused.contains(part), "{addresses:?}: {refused}");
    }
}

#[tokio::test]
async fn what_a_node_has_not_heard_of_a_token_it_asks_the_cluster() {
    let town = Town::found().await;
    town.hall.is_deaf.store(true, Ordering::Relaxed);
    let token = town.user("bob", UserRole::User);
    let client = town.client(&token);
    assert!(client.status().await.is_ok(), "it was made a moment ago");
    town.hall.wish(&Wish::RevokeToken { token: token.hash(), by: admin() }).unwrap();
    let refused = loop {
        match client.status().await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error.to_string(),
        }
    };
    assert!(refused.contains("this token signs nobody in"), "{refused}");
}

#[tokio::test]
async fn addresses_are_learned_and_the_one_that_was_named_stays() {
    let town = Town::found().await;
    let token = town.user("bob", UserRole::User);
    let named = town.address.clone();
    let (client, doors) = client(&town, &token, vec![named.clone()]);
    assert_eq!(client.addresses().await.unwrap(), [""; 0], "it has no neighbours");
    assert!(!doors.learn(Vec::new(), &named), "nothing is learned from nothing");
    let others = vec!["10.0.0.5:7301".to_owned(), "10.0.0.6:7301".to_owned()];
    assert!(doors.learn(others.clone(), &named));
    assert_eq!(doors.addresses(), [others.clone(), vec![named.clone()]].concat());
    assert!(!doors.learn(others, &named), "nothing is new");
}
