//! Whether what a backup found changed is far beyond the habit of its source: ransomware, a wrong mount, an emptied disk.

use serde::{Deserialize, Serialize};

/// When a change is out of the ordinary: changed plus deleted bytes are above both bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SurgeRules {
    /// Percent of the bytes of the tree before it.
    pub percent: u32,
    /// Times the median of the last ten points.
    pub times: u32,
}

impl Default for SurgeRules {
    fn default() -> Self {
        Self { percent: 20, times: 5 }
    }
}
