//! Parts in order, repeated, with gaps and with wrong content.

use super::{ObjectBlobs, path};
use object_store::ObjectStoreExt;
use otto_actors::ports::blobs::{BlobError, Blobs};
use otto_actors::ports::control::BlobPart;
use otto_core::ids::Digest;

fn part(digest: Digest, content: &[u8], from: usize, to: usize) -> BlobPart {
    let bytes = content[from..to].to_vec();
    BlobPart { digest, offset: from as u64, bytes, last: to == content.len() }
}

/// Sends the parts; answers whether the blob is there then, and reads as it was sent.
async fn check(parts: &[(usize, usize)], visible: bool) {
    let folder = tempfile::tempdir().unwrap();
    for blobs in [ObjectBlobs::in_memory(), ObjectBlobs::in_folder(folder.path()).unwrap()] {
        let content: Vec<u8> = (0..12_000_000_u32).map(|n| (n % 251) as u8).collect();
        let digest = Digest::of(&content);
        for (from, to) in parts {
            let put = blobs.put(part(digest, &content, *from, *to)).await;
            assert!(put.is_ok() || !visible, "{put:?}");
        }
        assert_eq!(blobs.has(digest).await, Ok(visible), "{parts:?}");
        let middle = blobs.get(digest, 5_000_000, 100).await;
        let expected = Ok(content[5_000_000..5_000_100].to_vec());
        let absent = Err(BlobError::Absent(digest));
        assert_eq!(middle, if visible { expected } else { absent });
    }
}

#[tokio::test]
async fn a_blob_is_visible_when_all_of_it_is_there() {
    const END: usize = 12_000_000;
    check(&[(0, END)], true).await;
    check(&[(0, 7_000_000), (7_000_000, END)], true).await;
    check(&[(0, 10), (0, 10), (5, 20), (20, END), (20, END)], true).await;
    check(&[(0, 10), (0, 10), (0, 20), (20, END - 1)], false).await;
    check(&[(0, 10), (11, END)], false).await;
    check(&[(10, END)], false).await;
}

#[tokio::test]
async fn other_content_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = ObjectBlobs::in_folder(folder.path()).unwrap();
    let digest = Digest::of(b"right");
    let wrong = |offset, bytes: &[u8], last| BlobPart { digest, offset, bytes: bytes.into(), last };
    for parts in
        [vec![wrong(0, b"wrong", true)], vec![wrong(0, b"wr", false), wrong(2, b"ong", true)]]
    {
        let mut last = Ok(());
        for part in parts {
            last = blobs.put(part).await;
        }
        assert!(matches!(last, Err(BlobError::Unfit(_))), "{last:?}");
        assert_eq!(blobs.has(digest).await, Ok(false));
    }
    // The same parts, right this time, are taken from the start.
    blobs.put(wrong(0, b"ri", false)).await.unwrap();
    blobs.put(wrong(2, b"ght", true)).await.unwrap();
    assert_eq!(blobs.get(digest, 0, 100).await.unwrap(), b"right");
    assert_eq!(blobs.get(digest, 5, 100).await.unwrap(), b"");
    let files = std::fs::read_dir(folder.path().join(&digest.to_string()[..2])).unwrap().count();
    assert_eq!(files, 1, "staged files were left behind");
}

#[tokio::test]
async fn forgotten_stagings_give_way() {
    let blobs = ObjectBlobs::in_memory();
    for number in 0..=super::MAX_STAGED {
        let digest = Digest::of(&number.to_be_bytes());
        blobs.put(BlobPart { digest, offset: 0, bytes: vec![1], last: false }).await.unwrap();
    }
    assert_eq!(blobs.staging.lock().await.staged.len(), super::MAX_STAGED);
    assert!(blobs.store.head(&path(Digest::of(&0_usize.to_be_bytes()))).await.is_err());
}
