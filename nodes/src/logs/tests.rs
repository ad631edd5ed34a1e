//! Appends in order, repeated and with gaps; seals.

use super::{FileLogs, MemoryLogs, SealedLogs};
use object_store::memory::InMemory;
use otto_actors::ports::logs::{LogId, Logs};
use otto_core::ids::{Attempt, ProjectId, RunId, StageId};
use std::sync::Arc;

fn log(number: u64) -> LogId {
    let run = RunId { project: ProjectId(7), number };
    LogId { run, stage: StageId(3), attempt: Attempt::FIRST }
}

/// Appends, and answers the lengths after each.
async fn check(appends: &[(u64, &str)], lengths: &[u64], content: &str) {
    let folder = tempfile::tempdir().unwrap();
    let files = FileLogs::new(folder.path().join("logs"));
    let sealed = SealedLogs::new(Arc::new(MemoryLogs::default()), Arc::new(InMemory::new()));
    for logs in [&files as &dyn Logs, &MemoryLogs::default(), &sealed] {
        assert_eq!(logs.length(log(1)).await, Ok(0));
        assert_eq!(logs.read(log(1), 0, 100).await, Ok(Vec::new()));
        for ((offset, text), length) in appends.iter().zip(lengths) {
            assert_eq!(logs.append(log(1), *offset, text.as_bytes()).await, Ok(*length));
        }
        let length = content.len() as u64;
        assert_eq!(logs.seal(log(1), length + 1).await, Ok(false));
        assert_eq!(logs.seal(log(1), length).await, Ok(true));
        assert_eq!(logs.read(log(1), 0, 100).await.unwrap(), content.as_bytes());
        assert_eq!(logs.read(log(1), 1, 2).await.unwrap(), content.as_bytes()[1..3]);
        assert_eq!(logs.read(log(1), length + 5, 2).await, Ok(Vec::new()));
    }
    let again = FileLogs::new(folder.path().join("logs"));
    assert_eq!(again.read(log(1), 0, 100).await.unwrap(), content.as_bytes());
}

#[tokio::test]
async fn bytes_are_taken_once_and_without_gaps() {
    check(&[(0, "abc"), (3, "def")], &[3, 6], "abcdef").await;
    check(&[(0, "abc"), (0, "abc"), (1, "bcde"), (5, "")], &[3, 3, 5, 5], "abcde").await;
    check(&[(0, "abc"), (4, "xyz"), (3, "d")], &[3, 3, 4], "abcd").await;
}

#[tokio::test]
async fn more_logs_than_open_files_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let files = FileLogs::new(folder.path().to_owned());
    for number in 0..300 {
        files.append(log(number), 0, number.to_string().as_bytes()).await.unwrap();
    }
    for number in 0..300 {
        assert_eq!(files.read(log(number), 0, 9).await.unwrap(), number.to_string().as_bytes());
    }
}

#[tokio::test]
async fn an_empty_log_can_be_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let files = FileLogs::new(folder.path().to_owned());
    assert_eq!(files.seal(log(1), 0).await, Ok(true));
    assert_eq!(files.seal(log(1), 1).await, Ok(false));
}

#[tokio::test]
async fn what_was_sealed_outlives_the_node_that_took_it() {
    let store = Arc::new(InMemory::new());
    let long = vec![b'x'; 20 << 20];
    let first = SealedLogs::new(Arc::new(MemoryLogs::default()), store.clone());
    for (number, bytes) in [(1, &b"short"[..]), (2, &long)] {
        first.append(log(number), 0, bytes).await.unwrap();
        let second = SealedLogs::new(Arc::new(MemoryLogs::default()), store.clone());
        let length = bytes.len() as u64;
        assert_eq!(second.length(log(number)).await, Ok(0), "what is live is the first node's");
        assert_eq!(first.seal(log(number), length).await, Ok(true));
        assert_eq!(second.length(log(number)).await, Ok(length));
        assert_eq!(second.seal(log(number), length).await, Ok(true), "it was sealed before");
        let end = second.read(log(number), length - 3, 100).await.unwrap();
        assert_eq!(end, bytes[bytes.len() - 3..]);
    }
}
