//! Reading a request for the heavy model before it is known that the heavy model has to answer it.

use serde::{Deserialize, Serialize};

/// `[head_start]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeadStartConfig {
    /// While the intent is decided, the heavy server reads what was said. Pays where the tiers do not share processors.
    pub enabled: bool,
    /// Only when at least this share of the last decisions went to the heavy model, 0 to 1.
    pub share: f64,
}

impl Default for HeadStartConfig {
    fn default() -> Self {
        HeadStartConfig { enabled: false, share: 0.5 }
    }
}
