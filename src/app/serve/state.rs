//! What all requests share.

use super::admission::Admission;
use super::metrics::Metrics;
use super::upload::Uploads;
use crate::config::Config;
use crate::engine::Engine;
use crate::error::Error;
use tokio_util::sync::CancellationToken;

/// One running service.
pub(super) struct Service {
    /// Models and servers.
    pub engine: Engine,
    /// Validated configuration.
    pub config: Config,
    /// Who may bring audio, and how many at once.
    pub admission: Admission,
    /// Where uploads stay while they are in work.
    pub uploads: Uploads,
    /// What Prometheus reads.
    pub metrics: Metrics,
    /// Fires when the service begins to end: nothing new is taken.
    pub draining: CancellationToken,
}

impl Service {
    pub fn new(engine: Engine, config: Config) -> Result<Self, Error> {
        let uploads = Uploads::open(&config.serve)?;
        let admission = Admission::new(config.serve.max_requests);
        let (metrics, draining) = (Metrics::default(), CancellationToken::new());
        Ok(Service { engine, config, admission, uploads, metrics, draining })
    }
}
