//! Simulated time and randomness for everything in this process, also what our libraries draw.
//!
//! Libraries read the clock and the random device of the C library: the standard library seeds its
//! hash maps, tarpc counts its deadlines. This module puts its own `clock_gettime` and `getrandom`
//! in front of the C library's. They act only on a thread that called [`enter`]; everywhere else
//! they are the plain system calls.
//!
//! One process simulates one seed: task ids, statics that are built once, and counters of libraries
//! go on from run to run within a process, so a second run in it would differ.

#![expect(unsafe_code, reason = "the simulated clock stands in front of the C library's")]

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};
use tokio::runtime::{Handle, Id};

/// The simulated wall clock's start: 2023-11-14T22:13:20Z, in seconds since 1970.
pub const WALL_START_S: u64 = 1_700_000_000;
/// The simulated monotonic clock's start in seconds.
const BOOT_S: u64 = 1_000_000;

thread_local! {
    static SIMULATED: Cell<bool> = const { Cell::new(false) };
    static RANDOM: Cell<u64> = const { Cell::new(0) };
    /// The runtimes whose time stands still, and where.
    static STOPPED: RefCell<Vec<(Id, Duration)>> = const { RefCell::new(Vec::new()) };
    /// Set while tokio's clock is asked, which itself may ask for the time.
    static ASKING: Cell<bool> = const { Cell::new(false) };
    /// What the standard library reads at [`BOOT_S`].
    static BOOT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Makes time and randomness of this thread simulated, from a seed.
pub fn enter(seed: u64) {
    RANDOM.set(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    SIMULATED.set(true);
    #[expect(clippy::disallowed_methods, reason = "reads the simulated clock's start")]
    BOOT.set(Some(Instant::now()));
}

/// Gives this thread the machine's time and randomness back.
pub fn leave() {
    SIMULATED.set(false);
}

/// The next number of this thread's seeded generator (`SplitMix64`, Steele, Lea and Flood 2014).
pub fn random() -> u64 {
    let state = RANDOM.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
    RANDOM.set(state);
    let mut mixed = state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// A number below `bound` (at least one).
pub fn random_below(bound: u64) -> u64 {
    random() % bound.max(1)
}

/// The clock of a runtime whose host is stopped: its time is what it is told.
#[derive(Clone, Copy, Debug)]
pub struct StoppedClock {
    runtime: Id,
    at: Duration,
}

impl StoppedClock {
    /// Lets time stand still for the runtime that this is called in. tokio's own clock of it is
    /// paused and cannot be held back; so it is resumed, and reads the C library's clock, which is
    /// this module's.
    #[must_use]
    pub fn stop() -> Self {
        let stopped = Self { runtime: Handle::current().id(), at: monotonic_clock() };
        STOPPED.with_borrow_mut(|all| all.push((stopped.runtime, stopped.at)));
        tokio::time::resume();
        stopped
    }

    /// Shows so much more than when it was stopped.
    pub fn show(self, later: Duration) {
        STOPPED.with_borrow_mut(|all| {
            for (_, at) in all.iter_mut().filter(|(runtime, _)| *runtime == self.runtime) {
                *at = self.at + later;
            }
        });
    }

    /// Lets time pass again, from what is shown now on, in the runtime that this is called in.
    pub fn go_on(self) {
        tokio::time::pause();
        self.forget();
    }

    /// The runtime is gone.
    pub fn forget(self) {
        STOPPED.with_borrow_mut(|all| all.retain(|(runtime, _)| *runtime != self.runtime));
    }
}

/// What the clock of the runtime shows in which this is called, if it is stopped.
fn stopped_at() -> Option<Duration> {
    if STOPPED.try_with(|all| all.borrow().is_empty()).unwrap_or(true) {
        return None;
    }
    let runtime = Handle::try_current().ok()?.id();
    STOPPED.with_borrow(|all| all.iter().find(|(stopped, _)| *stopped == runtime).map(|it| it.1))
}

/// The machine's own monotonic time, for telling how long a simulation took.
pub fn machine_time() -> Duration {
    system_time(libc::CLOCK_MONOTONIC)
}

/// For how long processors have worked for this process, however busy the machine is.
pub fn processor_time() -> Duration {
    system_time(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn system_time(id: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the system call writes one `timespec` through a valid pointer.
    unsafe { system_clock(id, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn wall_clock() -> Duration {
    let elapsed = turmoil::sim_elapsed().unwrap_or_default();
    Duration::from_secs(WALL_START_S) + elapsed
}

fn monotonic_clock() -> Duration {
    if let Some(at) = stopped_at() {
        return at;
    }
    let start = Duration::from_secs(BOOT_S);
    let in_runtime = Handle::try_current().is_ok();
    match BOOT.get() {
        Some(boot) if in_runtime && !ASKING.replace(true) => {
            // The runtime's clock is paused, so this is simulated time and reads no clock itself.
            let now = tokio::time::Instant::now().into_std();
            ASKING.set(false);
            start + now.saturating_duration_since(boot)
        }
        _ => start,
    }
}

unsafe fn system_clock(id: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    // SAFETY: the caller's pointer is handed to the system call that it was meant for.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, id, time) };
    libc::c_int::try_from(result).unwrap_or(-1)
}

/// Stands in front of the C library's function of this name.
///
/// # Safety
/// As the C library's: `time` must be valid for writing one `timespec`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(
    id: libc::clockid_t,
    time: *mut libc::timespec,
) -> libc::c_int {
    if !SIMULATED.try_with(Cell::get).unwrap_or(false) {
        // SAFETY: see above.
        return unsafe { system_clock(id, time) };
    }
    let now = match id {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => wall_clock(),
        _ => monotonic_clock(),
    };
    let spec = libc::timespec {
        tv_sec: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(now.subsec_nanos()),
    };
    // SAFETY: the caller's pointer is valid for writing.
    unsafe { time.write(spec) };
    0
}

/// Stands in front of the C library's function of this name.
///
/// # Safety
/// As the C library's: `buffer` must be valid for writing `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(
    buffer: *mut libc::c_void,
    length: libc::size_t,
    flags: libc::c_uint,
) -> libc::ssize_t {
    if !SIMULATED.try_with(Cell::get).unwrap_or(false) {
        // SAFETY: the caller's pointer is handed to the system call that it was meant for.
        let result = unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) };
        return libc::ssize_t::try_from(result).unwrap_or(-1);
    }
    if length > 0 {
        // SAFETY: the caller's buffer has `length` bytes, and nobody else writes to it meanwhile.
        let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&random().to_le_bytes()[..chunk.len()]);
        }
    }
    libc::ssize_t::try_from(length).unwrap_or(libc::ssize_t::MAX)
}

#[cfg(test)]
mod tests {
    use super::{WALL_START_S, enter, leave, random};
    use std::hash::{BuildHasher, RandomState};
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    /// What a fresh thread sees that enters with a seed: numbers, a hash map's seed, the wall
    /// clock.
    fn seen(seed: u64) -> (u64, u64, Duration) {
        let thread = move || {
            enter(seed);
            let hash = RandomState::new().hash_one(7);
            #[expect(clippy::disallowed_methods, reason = "this is the clock under test")]
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let number = random();
            leave();
            (number, hash, wall)
        };
        std::thread::scope(|scope| scope.spawn(thread).join().unwrap())
    }

    #[test]
    fn a_seed_decides_what_a_thread_sees() {
        assert_eq!(seen(1), seen(1));
        assert_ne!(seen(1).0, seen(2).0);
        assert_ne!(seen(1).1, seen(2).1);
        assert_eq!(seen(1).2, Duration::from_secs(WALL_START_S));
    }

    #[test]
    fn outside_the_simulation_time_is_the_machine_s() {
        #[expect(clippy::disallowed_methods, reason = "this is the clock under test")]
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        assert!(wall > Duration::from_secs(WALL_START_S + 86_400));
    }
}
