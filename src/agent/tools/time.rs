//! `current_time`.

use super::{Arguments, Outcome, object, text};
use jiff::ZonedDateTime;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

pub(super) fn spec() -> (&'static str, &'static str, Value) {
    let zone = json!({"type": "string", "description": "IANA time zone such as Asia/Tokyo; left out: the user's own"});
    ("current_time", "The current date, weekday and time, here or in another time zone.", object(&[("zone", zone)], 0))
}

pub(super) fn call(arguments: &Arguments) -> Outcome {
    let name = text(arguments, "zone").trim();
    let zone = if name.is_empty() {
        TimeZone::system()
    } else {
        let unknown = |_| format!("'{name}' is no IANA time zone; examples: Europe/Berlin, Asia/Tokyo, UTC");
        TimeZone::get(name).map_err(unknown)?
    };
    Ok(shown(&ZonedDateTime::now().with_time_zone(zone)))
}

fn shown(now: &ZonedDateTime) -> String {
    let zone = now.time_zone().iana_name().unwrap_or("local time");
    format!("{} ({zone})", now.strftime("%A, %-d %B %Y, %H:%M:%S, UTC%:z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_told_with_its_zone() {
        let then: ZonedDateTime = "2024-02-29T23:05:09+01:00[Europe/Berlin]".parse().unwrap();
        assert_eq!(shown(&then), "Thursday, 29 February 2024, 23:05:09, UTC+01:00 (Europe/Berlin)");
        let zone = |zone: &str| call(json!({"zone": zone}).as_object().unwrap());
        assert!(zone("Asia/Tokyo").unwrap().ends_with("UTC+09:00 (Asia/Tokyo)"));
        assert!(zone("").is_ok());
        assert!(zone("Moon/Base").unwrap_err().contains("Moon/Base"));
    }
}
