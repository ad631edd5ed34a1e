//! Where the store's two writers run, as a port.
//!
//! A commit blocks its thread until the disk has answered, so it must not run where actors do; and
//! threads would make a simulation's history depend on the machine. In production each writer has a
//! thread of its own; a simulation runs it inline and lets simulated time pass.

use async_trait::async_trait;
use std::fmt;
use std::io;
use tokio::sync::mpsc;

/// Works off orders, as many at once as are waiting.
#[async_trait]
pub trait Writer: Send {
    /// Blocks until there is work; false when there will never be any again.
    fn wait(&mut self) -> bool;

    /// As [`Writer::wait`], without blocking the thread.
    async fn ready(&mut self) -> bool;

    /// Does all the work that waits; false when it was the last.
    fn work(&mut self) -> bool;
}

/// Gives writers a place to run.
pub trait Executor: fmt::Debug + Send + Sync + 'static {
    /// Runs a writer until it has no more work. The name is for people who look at threads.
    ///
    /// # Errors
    /// When there is no place for it.
    fn run(&self, name: &'static str, writer: Box<dyn Writer>) -> io::Result<()>;
}

/// A thread for each writer: what production uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Threads;

/// How much sooner than others a writer has its turn, in the kernel's steps of niceness.
const PRIORITY: i32 = -10;

impl Executor for Threads {
    fn run(&self, name: &'static str, mut writer: Box<dyn Writer>) -> io::Result<()> {
        let work = move || {
            // Whatever is agreed waits for the writers; where we may not go first, it waits longer.
            rustix::process::setpriority_process(None, PRIORITY).ok();
            while writer.wait() && writer.work() {}
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
    }
}

/// A writer that hands everything that waits in its inbox to a function.
pub(super) struct Batcher<Order, Work> {
    inbox: mpsc::UnboundedReceiver<Order>,
    held: Vec<Order>,
    work: Work,
}

impl<Order, Work> Batcher<Order, Work> {
    pub(super) fn new(inbox: mpsc::UnboundedReceiver<Order>, work: Work) -> Self {
        Self { inbox, held: Vec::new(), work }
    }
}

/// How many orders one commit takes at most: far more than ever wait, but a bound.
const BATCH_ORDERS: usize = 4096;

#[async_trait]
impl<Order, Work> Writer for Batcher<Order, Work>
where
    Order: Send,
    Work: FnMut(Vec<Order>) -> bool + Send,
{
    fn wait(&mut self) -> bool {
        self.inbox.blocking_recv().map(|order| self.held.push(order)).is_some()
    }

    async fn ready(&mut self) -> bool {
        self.inbox.recv().await.map(|order| self.held.push(order)).is_some()
    }

    fn work(&mut self) -> bool {
        while self.held.len() < BATCH_ORDERS
            && let Ok(order) = self.inbox.try_recv()
        {
            self.held.push(order);
        }
        (self.work)(std::mem::take(&mut self.held))
    }
}
