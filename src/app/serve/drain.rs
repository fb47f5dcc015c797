//! The end of the service: nothing new is taken, work under way has its grace time, servers are stopped.

use super::state::Service;
use std::net::SocketAddr;
use std::time::Duration;

/// Ends the service; returns when its servers have ended too.
pub(super) async fn end(service: &Service, handle: &axum_server::Handle<SocketAddr>) {
    service.draining.cancel();
    let grace = Duration::from_secs_f64(service.config.serve.grace_seconds);
    handle.graceful_shutdown(Some(grace));
    // Jobs keep; what they leave of the recognisers, the requests under way have.
    service.jobs.pause().await;
    let ended = async {
        while handle.connection_count() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // What is left after that has been cut off.
    let _ = tokio::time::timeout(grace + Duration::from_secs(1), ended).await;
    service.jobs.close().await;
    if let Ok(engine) = service.engine() {
        engine.stop().await;
    }
}
