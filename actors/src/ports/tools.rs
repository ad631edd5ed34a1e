//! The tools of a machine, as a port.

use async_trait::async_trait;
use otto_core::capability::Found;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Looks for tools.
#[async_trait]
pub trait Tools: fmt::Debug + Send + Sync + 'static {
    /// Looks for tools of these names, each of which [`otto_core::capability::is_tool_name`]; one
    /// answer for each. It takes no longer than some seconds a tool. A future that is dropped
    /// before it is done leaves no process behind.
    async fn look(&self, tools: &[String]) -> BTreeMap<String, Found>;
}

/// Tools that several actors look for.
pub type SharedTools = Arc<dyn Tools>;
