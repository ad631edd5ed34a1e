//! One message as one datagram of a `SOCK_SEQPACKET` pair, with the descriptors that belong to it.
//!
//! A message that is too long for a datagram travels in a memory file, whose descriptor comes
//! first.

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The longest message that travels in the datagram itself, its first byte included.
const DATAGRAM_BYTES: usize = 32 * 1024;
/// The most descriptors with one message.
const MAX_DESCRIPTORS: usize = 8;
/// The longest message at all: more than the kernel lets a process have as arguments and
/// environment.
const MAX_MESSAGE_BYTES: u64 = 16 << 20;

/// The message follows in the datagram.
const INLINE: u8 = 0;
/// The message is in the first descriptor.
const IN_MEMORY_FILE: u8 = 1;

/// A message and the descriptors that came with it.
pub(crate) type Received<M> = (M, Vec<OwnedFd>);

/// A pair of connected sockets that processes do not inherit.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Sends one message.
///
/// # Errors
/// Those of the socket: `BrokenPipe` where the other end is gone, `WouldBlock` where it does not
/// read.
pub(crate) fn send<M: Serialize>(
    socket: impl AsFd,
    message: &M,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut bytes = vec![INLINE];
    rmp_serde::encode::write(&mut bytes, message).map_err(io::Error::other)?;
    if bytes.len() <= DATAGRAM_BYTES {
        return send_datagram(socket.as_fd(), &bytes, descriptors);
    }
    let mut file = File::from(memfd_create(c"otto-message", MemfdFlags::CLOEXEC)?);
    file.write_all(&bytes[1..])?;
    file.rewind()?;
    let mut all = vec![file.as_fd()];
    all.extend(descriptors);
    send_datagram(socket.as_fd(), &[IN_MEMORY_FILE], &all)
}

fn send_datagram(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("more descriptors than a message may carry"));
    }
    let flags = SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, flags))?;
    Ok(())
}

/// Receives one message; `None` where the other end is gone.
///
/// # Errors
/// Those of the socket, and `InvalidData` for what is no message.
pub(crate) fn receive<M: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<Received<M>>> {
    let mut bytes = vec![0; DATAGRAM_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(
            socket.as_fd(),
            &mut [IoSliceMut::new(&mut bytes)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(invalid("a message was cut off"));
    }
    let message = match bytes[..received.bytes].split_first() {
        None => return Ok(None),
        Some((&INLINE, message)) => rmp_serde::from_slice(message),
        Some((&IN_MEMORY_FILE, _)) if !descriptors.is_empty() => {
            let file = File::from(descriptors.remove(0));
            rmp_serde::from_read(io::BufReader::new(file.take(MAX_MESSAGE_BYTES)))
        }
        Some(_) => return Err(invalid("a message of an unknown form")),
    };
    Ok(Some((message.map_err(|error| invalid(&error.to_string()))?, descriptors)))
}

fn invalid(cause: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause)
}

#[cfg(test)]
mod tests {
    use super::{DATAGRAM_BYTES, pair, receive, send};
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    #[test]
    fn messages_arrive_whole_with_their_descriptors() {
        let check = |length: usize| {
            let (near, far) = pair().expect("a socket pair");
            let (reader, mut writer) = std::io::pipe().expect("a pipe");
            let message = "x".repeat(length);
            send(&near, &message, &[reader.as_fd()]).expect("room in the socket");
            drop((near, reader));
            let (text, mut descriptors) =
                receive::<String>(&far).expect("a message").expect("not the end");
            assert!(text == message, "a message of {length} bytes came as {}", text.len());
            assert_eq!(descriptors.len(), 1, "with {length} bytes");
            writer.write_all(b"through").expect("an open pipe");
            drop(writer);
            let mut through = String::new();
            let mut reader = std::fs::File::from(descriptors.remove(0));
            reader.read_to_string(&mut through).expect("an open pipe");
            assert_eq!(through, "through");
            assert!(receive::<String>(&far).expect("the end").is_none());
        };
        check(0);
        check(100);
        check(DATAGRAM_BYTES - 100);
        check(DATAGRAM_BYTES);
        check(3 << 20);
    }
}
