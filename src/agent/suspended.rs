//! An answer that stopped in the middle of a step, because a call waits for a person.

use super::calls::Prepared;
use super::memory::ConversationId;
use super::tools::Arguments;
use super::work::Work;
use crate::outcome::{Finish, Reply, Tier, Warning};
use std::collections::VecDeque;

/// The calls of a step that are not all done.
#[derive(Debug)]
pub(super) struct Open {
    /// Id and tool of each call, in order.
    pub calls: Vec<(String, String)>,
    pub results: Vec<Option<Result<String, String>>>,
    /// Index and call of those that need a person's word.
    pub waiting: VecDeque<(usize, Prepared)>,
}

/// An answer that waits for a person.
pub struct Suspended {
    pub(super) work: Work,
    pub(super) open: Open,
    /// The call that is asked about.
    pub(super) asked: Prepared,
}

impl Suspended {
    /// The call that is asked about.
    pub(super) fn asked(&self) -> (&str, &Arguments) {
        (&self.asked.tool.spec.name, &self.asked.arguments)
    }

    /// The conversation it is part of.
    pub(super) fn conversation(&self) -> Option<ConversationId> {
        self.work.conversation.clone()
    }

    /// What was said and done until here, as it is delivered.
    pub(super) fn so_far(&mut self, tier: Tier) -> (Reply, Vec<Warning>) {
        let work = &mut self.work;
        let reply = Reply {
            text: work.text.trim().to_owned(),
            tier,
            model: work.model.clone(),
            finish: Finish::Stop,
            tokens: work.generated,
            spoken: None,
            tools: work.uses.clone(),
            pending: None,
        };
        (reply, std::mem::take(&mut work.warnings))
    }

    #[cfg(test)]
    pub(super) fn for_test(tool: &str, arguments: &serde_json::Value) -> Self {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        let asked = Prepared { tool: super::tools::Tool::for_test(tool), arguments };
        let open = Open { calls: Vec::new(), results: Vec::new(), waiting: VecDeque::new() };
        Suspended { work: Work::default(), open, asked }
    }
}
