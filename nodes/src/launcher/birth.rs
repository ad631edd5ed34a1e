//! Making a stage process: the one place of this side that the compiler cannot check.

use nix::sched::{CloneFlags, clone};
use nix::unistd::Pid;
use std::io;

/// The stage process's stack: it calls nothing deep, and untouched pages cost nothing.
const STACK_BYTES: usize = 1 << 20;

/// Makes a child process that runs `body` and exits with what it returns, in user, mount and
/// process namespaces of its own where `namespaces` says so.
///
/// # Errors
/// What the kernel refuses.
pub(super) fn birth(namespaces: bool, mut body: impl FnMut() -> u8) -> io::Result<Pid> {
    let flags = if namespaces {
        CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID
    } else {
        CloneFlags::empty()
    };
    let mut stack = vec![0; STACK_BYTES];
    #[expect(unsafe_code, reason = "no safe call makes a process in namespaces without exec")]
    // SAFETY: the launcher has one thread, so that no lock is held and no other thread's state is
    // copied half changed. Without CLONE_VM the child has its own copy of all memory, of the stack
    // too, and the copy outlives it. A panic cannot leave `body`: the C frame below it aborts.
    let born = unsafe {
        clone(Box::new(move || isize::from(body())), &mut stack, flags, Some(libc::SIGCHLD))
    };
    Ok(born?)
}
