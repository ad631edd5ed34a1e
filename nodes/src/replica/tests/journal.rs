//! What is acknowledged, and what is read of it.

use super::{entity, item, proposal, serve};
use otto_actors::ports::journal::SharedJournal;
use otto_core::journal::{EntityId, EntityKind, Head, StoredHead, Verdict};
use otto_core::time::Timestamp;

#[tokio::test]
async fn what_was_applied_is_there_after_opening_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (shards, journal) = serve(folder.path()).await;
    let applied = journal.propose(proposal([item(1, 0, Some(5)), item(2, 0, None)])).await;
    assert_eq!(applied, Ok(Verdict::Applied));
    assert_eq!(journal.propose(proposal([item(1, 1, None)])).await, Ok(Verdict::Applied));
    shards.close().await.expect("the disk is well");

    let (shards, journal) = serve(folder.path()).await;
    let entries = vec![b"entry 1 of 1".to_vec(), b"entry 2 of 1".to_vec()];
    assert_eq!(journal.entries(entity(1), 0).await, Ok(entries.clone()));
    assert_eq!(journal.entries(entity(1), 1).await, Ok(entries[1..].to_vec()));
    let head = Head { wake: None, summary: b"head of 1".to_vec() };
    assert_eq!(journal.head(entity(1)).await, Ok(Some(StoredHead { version: 2, head })));
    assert_eq!(journal.head(entity(3)).await, Ok(None));
    shards.close().await.expect("the disk is well");
}

#[tokio::test]
async fn a_proposal_is_applied_whole_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let (shards, journal) = serve(folder.path()).await;
    assert_eq!(journal.propose(proposal([item(1, 0, None)])).await, Ok(Verdict::Applied));
    let cases = [
        ("another version", proposal([item(2, 0, None), item(1, 0, None)]), 1),
        ("a later version", proposal([item(2, 0, None), item(1, 7, None)]), 1),
        ("the same entity twice", proposal([item(2, 0, None), item(2, 1, None)]), 1),
    ];
    for (case, proposal, found) in cases {
        let entity = proposal.items[1].entity;
        let verdict = journal.propose(proposal).await;
        assert_eq!(verdict, Ok(Verdict::Conflict { entity, found }), "{case}");
        assert_eq!(journal.head(self::entity(2)).await, Ok(None), "{case}");
    }
    shards.close().await.expect("the disk is well");
}

#[tokio::test]
async fn wake_ups_are_listed_in_order_and_follow_the_head() {
    let folder = tempfile::tempdir().expect("a folder");
    let (shards, journal) = serve(folder.path()).await;
    let wakes = [(1, Some(30)), (2, Some(10)), (3, None), (4, Some(20)), (5, Some(0))];
    for (id, wake) in wakes {
        journal.propose(proposal([item(id, 0, wake)])).await.expect("it is applied");
    }
    journal.propose(proposal([item(4, 1, Some(40))])).await.expect("it is applied");
    let due = |until, after: Option<(u64, u128)>, limit| {
        let after = after.map(|(at, id)| (Timestamp(at), entity(id)));
        let journal = SharedJournal::clone(&journal);
        async move {
            let due = journal.due(Timestamp(until), after, limit).await.expect("it serves");
            due.into_iter().map(|(at, entity)| (at.0, entity.id)).collect::<Vec<_>>()
        }
    };
    assert_eq!(due(30, None, 9).await, [(0, 5), (10, 2), (30, 1)]);
    assert_eq!(due(u64::MAX, Some((10, 2)), 9).await, [(30, 1), (40, 4)]);
    assert_eq!(due(9, None, 9).await, [(0, 5)]);
    assert_eq!(due(9, Some((10, 2)), 9).await, []);
    assert_eq!(due(99, None, 2).await, [(0, 5), (10, 2)]);
    shards.close().await.expect("the disk is well");
}

#[tokio::test]
async fn heads_are_listed_newest_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let (shards, journal) = serve(folder.path()).await;
    for id in 1..=4 {
        journal.propose(proposal([item(id, 0, None)])).await.expect("it is applied");
    }
    let listed = |kind, before: Option<EntityId>, limit| {
        let journal = SharedJournal::clone(&journal);
        async move {
            let heads = journal.heads(kind, before, limit).await.expect("it serves");
            heads.into_iter().map(|(entity, _)| entity.id).collect::<Vec<_>>()
        }
    };
    let plan = EntityId { kind: EntityKind::Plan, id: 0 };
    let project = EntityId { kind: EntityKind::Project, id: 0 };
    assert_eq!(listed(EntityKind::Run, None, 3).await, [4, 3, 2]);
    assert_eq!(listed(EntityKind::Run, Some(entity(3)), 9).await, [2, 1]);
    assert_eq!(listed(EntityKind::Run, Some(plan), 9).await, [4, 3, 2, 1]);
    assert_eq!(listed(EntityKind::Run, Some(project), 9).await, [0; 0]);
    assert_eq!(listed(EntityKind::Plan, None, 9).await, [0; 0]);
    shards.close().await.expect("the disk is well");
}
