//! System calls that no step needs and that reach deep into the kernel: refused with "not
//! permitted", as an ordinary user's would be, so that tools that only try one go on.
//!
//! The list is short on purpose. What ordinary tools use stays, `ptrace` of one's own children and
//! nested namespaces too: where a step has namespaces, mounting inside of more of them harms no
//! one.

use seccompiler::{BpfProgram, apply_filter, sock_filter};

/// A way of calling the kernel, and the numbers that are refused there.
struct Convention {
    /// The kernel's number of the architecture.
    architecture: u32,
    refused: Vec<u32>,
    /// Calls from this number on belong to yet another convention, and are unknown to us.
    foreign_from: Option<u32>,
}

/// Refuses the calls to this process and all that it will start. `mounts` refuses those that change
/// what is mounted where, too.
pub(super) fn refuse(mounts: bool) -> Result<(), seccompiler::Error> {
    apply_filter(&program(&conventions(mounts)))
}

// Instructions of the kernel's filters, as `linux/bpf_common.h` composes them.
const LOAD_WORD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;
/// Where the kernel puts the call's number and the architecture.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;

/// The filter: a section for each convention, passed over where the architecture is another.
fn program(conventions: &[Convention]) -> BpfProgram {
    let plain = |code, k| sock_filter { code, jt: 0, jf: 0, k };
    let answer = |errno: i32| {
        let errno = u32::try_from(errno).unwrap_or(0) & libc::SECCOMP_RET_DATA;
        plain(RETURN, libc::SECCOMP_RET_ERRNO | errno)
    };
    // Its condition holds: the next one answers. It does not: that one is passed over.
    let unless = |code, k| sock_filter { code, jt: 0, jf: 1, k };
    let mut program = vec![plain(LOAD_WORD, ARCHITECTURE_AT)];
    for convention in conventions {
        let mut section = vec![plain(LOAD_WORD, NUMBER_AT)];
        if let Some(from) = convention.foreign_from {
            section.extend([unless(JUMP_IF_AT_LEAST, from), answer(libc::ENOSYS)]);
        }
        for number in &convention.refused {
            section.extend([unless(JUMP_IF_EQUAL, *number), answer(libc::EPERM)]);
        }
        section.push(plain(RETURN, libc::SECCOMP_RET_ALLOW));
        let passed_over = u8::try_from(section.len()).unwrap_or(u8::MAX);
        let k = convention.architecture;
        program.push(sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: passed_over, k });
        program.extend(section);
    }
    program.push(answer(libc::ENOSYS));
    program
}

fn conventions(mounts: bool) -> Vec<Convention> {
    let mut refused = native();
    if mounts {
        refused.extend(native_mounts());
    }
    let numbers = refused.into_iter().filter_map(|number| u32::try_from(number).ok()).collect();
    let ours = Convention {
        architecture: ARCHITECTURE,
        refused: numbers,
        foreign_from: cfg!(target_arch = "x86_64").then_some(0x4000_0000),
    };
    let mut all = vec![ours];
    if cfg!(target_arch = "x86_64") {
        let mounts = if mounts { I386_MOUNTS } else { &[] };
        let refused = [I386, mounts].concat();
        all.push(Convention { architecture: 0x4000_0003, refused, foreign_from: None });
    }
    all
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;
#[cfg(target_arch = "riscv64")]
const ARCHITECTURE: u32 = 0xC000_00F3;

fn native() -> Vec<i64> {
    vec![
        // Another kernel, or code in this one.
        libc::SYS_kexec_load,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_bpf,
        // What most ways into the kernel of the last years began with.
        libc::SYS_userfaultfd,
        libc::SYS_perf_event_open,
        // Keys are those of the user, who is the same for all stages and for the node.
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_keyctl,
        // Opens files by number, past every folder that hides them.
        libc::SYS_open_by_handle_at,
        // The machine as a whole.
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_swapoff,
        libc::SYS_acct,
        libc::SYS_quotactl,
        // Leases count on clocks.
        libc::SYS_settimeofday,
        libc::SYS_clock_settime,
        libc::SYS_adjtimex,
        libc::SYS_clock_adjtime,
    ]
}

fn native_mounts() -> Vec<i64> {
    vec![
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fspick,
        libc::SYS_mount_setattr,
    ]
}

/// The same for programs of 32 bits, in the same order, with their older and wider variants.
const I386: &[u32] = &[
    283, 128, 350, 129, 357, 374, 336, 286, 287, 288, 342, 88, 87, 115, 51, 131, 79, 264, 404, 124,
    343, 405,
];
const I386_MOUNTS: &[u32] = &[21, 22, 52, 217, 428, 429, 430, 431, 432, 433, 442];

#[cfg(test)]
mod tests {
    use super::{ARCHITECTURE, conventions, program};
    use seccompiler::sock_filter;

    /// What the kernel would do with a call.
    fn answered(program: &[sock_filter], architecture: u32, number: u32) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let step = &program[at];
            at += 1;
            match step.code {
                super::LOAD_WORD => value = if step.k == 0 { number } else { architecture },
                super::JUMP_IF_EQUAL | super::JUMP_IF_AT_LEAST => {
                    let equal = step.code == super::JUMP_IF_EQUAL;
                    let holds = if equal { value == step.k } else { value >= step.k };
                    at += usize::from(if holds { step.jt } else { step.jf });
                }
                super::RETURN => return step.k,
                other => panic!("no instruction of ours: {other}"),
            }
        }
    }

    #[test]
    fn the_filter_answers_each_convention() {
        let refused = |errno: i32| libc::SECCOMP_RET_ERRNO | errno.unsigned_abs();
        let check = |mounts: bool, architecture: u32, number: i64, expected: u32| {
            let program = program(&conventions(mounts));
            let number = u32::try_from(number).expect("a call");
            let answer = answered(&program, architecture, number);
            assert_eq!(answer, expected, "{architecture:x} {number} with mounts {mounts}");
        };
        let (allowed, eperm) = (libc::SECCOMP_RET_ALLOW, refused(libc::EPERM));
        check(true, ARCHITECTURE, libc::SYS_bpf, eperm);
        check(true, ARCHITECTURE, libc::SYS_mount, eperm);
        check(false, ARCHITECTURE, libc::SYS_mount, allowed);
        check(true, ARCHITECTURE, libc::SYS_ptrace, allowed);
        check(true, ARCHITECTURE, libc::SYS_read, allowed);
        check(true, 0x1234, libc::SYS_read, refused(libc::ENOSYS));
        if cfg!(target_arch = "x86_64") {
            check(true, ARCHITECTURE, 0x4000_0001, refused(libc::ENOSYS));
            check(true, 0x4000_0003, 357, eperm);
            check(false, 0x4000_0003, 21, allowed);
            check(true, 0x4000_0003, 21, eperm);
        }
    }
}
