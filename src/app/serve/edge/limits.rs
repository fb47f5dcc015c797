//! Requests a minute, for each key and for each address.

use super::super::error::ApiError;
use axum::http::StatusCode;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, NotUntil, Quota, RateLimiter};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

/// Addresses that are remembered at once. More share one limit: memory is bounded whoever knocks.
const MAX_ADDRESSES: usize = 20_000;

/// The limit of one key.
pub(super) struct Rate(DefaultDirectRateLimiter);

/// The limit of each address.
pub(super) struct Addresses(DefaultKeyedRateLimiter<IpAddr>);

impl Rate {
    /// `per_minute` requests a minute, all of which may come at once; 0: no limit.
    pub fn new(per_minute: u32) -> Option<Self> {
        Some(Rate(RateLimiter::direct(Quota::per_minute(NonZeroU32::new(per_minute)?))))
    }

    /// # Errors
    /// 429 when there were too many.
    pub fn count(&self) -> Result<(), ApiError> {
        self.0.check().map_err(|until| exceeded(&until))
    }
}

impl Addresses {
    /// `per_minute` requests a minute from each address, all of which may come at once; 0: no limit.
    pub fn new(per_minute: u32) -> Option<Self> {
        Some(Addresses(RateLimiter::keyed(Quota::per_minute(NonZeroU32::new(per_minute)?))))
    }

    /// # Errors
    /// 429 when there were too many.
    pub fn count(&self, address: IpAddr) -> Result<(), ApiError> {
        let mut address = network(address);
        if self.0.len() >= MAX_ADDRESSES {
            self.0.retain_recent();
            if self.0.len() >= MAX_ADDRESSES {
                address = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            }
        }
        self.0.check_key(&address).map_err(|until| exceeded(&until))
    }
}

/// One household has one IPv4 address, but 2^64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

fn exceeded(until: &NotUntil<<DefaultClock as Clock>::Instant>) -> ApiError {
    let wait = until.wait_time_from(DefaultClock::default().now());
    let message = format!("more than {} requests a minute; try again shortly", until.quota().burst_size());
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, message)
        .code("rate_limit_exceeded")
        .retry_after((wait.as_secs_f64().ceil() as u64).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_after_the_last_one_is_told_when_to_come_back() {
        let rate = Rate::new(3).expect("a limit");
        for _ in 0..3 {
            assert!(rate.count().is_ok());
        }
        let error = rate.count().expect_err("too many");
        assert_eq!(error.status, StatusCode::TOO_MANY_REQUESTS);
        // One of three a minute comes back every 20 seconds.
        assert!((19..=20).contains(&error.retry_after.expect("seconds")), "{error:?}");
        assert!(Rate::new(0).is_none());
    }

    #[test]
    fn addresses_have_limits_of_their_own_and_a_network_of_ipv6_one() {
        let addresses = Addresses::new(1).expect("a limit");
        let ask = |text: &str| addresses.count(text.parse().expect("an address")).is_ok();
        assert!(ask("192.0.2.1") && ask("192.0.2.2") && !ask("192.0.2.1") && !ask("::ffff:192.0.2.2"));
        assert!(ask("2001:db8::1") && !ask("2001:db8::ffff:1") && ask("2001:db8:0:1::1"));
    }

    #[test]
    fn memory_is_bounded_whoever_knocks() {
        let addresses = Addresses::new(1).expect("a limit");
        for number in 0..MAX_ADDRESSES as u32 + 500 {
            let _ = addresses.count(IpAddr::V4(number.into()));
        }
        assert!(addresses.0.len() <= MAX_ADDRESSES + 1, "{}", addresses.0.len());
    }
}
