//! Who was turned away stays away.

use super::{SHARD, open};
use crate::replica::Standing;

#[tokio::test]
async fn a_node_that_was_told_that_it_is_out_remembers_it_and_serves_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let shards = open(folder.path()).await.expect("the folder is new");
    shards.ready(SHARD).await.expect("the only voter serves");
    shards.roll.cast_out("its disk was taken back").await.expect("the disk is well");
    shards.roll.cast_out("another reason").await.expect("the disk is well");
    let mut standing = shards.standing(SHARD).expect("there is such a shard");
    let aside = standing.wait_for(|now| *now == Standing::Opening).await;
    aside.expect("it goes on");
    shards.close().await.expect("the disk is well");
    let shards = open(folder.path()).await.expect("the folder is whole");
    let known = shards.outcast().borrow().clone();
    assert_eq!(known.as_deref(), Some("its disk was taken back"));
    let standing = shards.standing(SHARD).expect("there is such a shard");
    // It leads, for it is alone in what it remembers.
    let views = || shards.views().into_iter().find(|view| view.shard == SHARD);
    while views().and_then(|view| view.leader).is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(*standing.borrow(), Standing::Opening);
    shards.close().await.expect("the disk is well");
}
