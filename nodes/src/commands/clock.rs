//! The time of day, for what is shown to people and for the identity of a wish.

use jiff::tz::TimeZone;
use otto_core::time::{Span, Timestamp};

/// Now, by this machine's clock.
#[must_use]
pub(super) fn now() -> Timestamp {
    let now = jiff::Timestamp::now().as_millisecond();
    Timestamp(u64::try_from(now).unwrap_or(0))
}

/// The time of day here: `14:03:07`.
#[must_use]
pub(super) fn time_of_day(at: Timestamp) -> String {
    here(at).strftime("%H:%M:%S").to_string()
}

/// Date and time here, to the second: `2026-11-22 14:03:07`.
#[must_use]
pub(super) fn date_and_time(at: Timestamp) -> String {
    here(at).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// The time for programs: `2026-11-22T13:03:07.123Z`.
#[must_use]
pub(super) fn for_programs(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at.0).unwrap_or(0));
    at.map(|at| format!("{at:.3}")).unwrap_or_default()
}

/// Reads a point in time: `14:03`, `2026-11-22 14:03`, either with seconds, or with a zone.
#[must_use]
pub(super) fn parse(text: &str, now: Timestamp) -> Option<Timestamp> {
    let zone = TimeZone::system();
    let exact = text.parse::<jiff::Timestamp>().ok();
    let local = || {
        let text = text.replacen(' ', "T", 1);
        let whole = text.parse::<jiff::civil::DateTime>().ok();
        let time = || Some(here(now).date().to_datetime(text.parse().ok()?));
        whole.or_else(time)?.to_zoned(zone).ok().map(|zoned| zoned.timestamp())
    };
    let millisecond = exact.or_else(local)?.as_millisecond();
    Some(Timestamp(u64::try_from(millisecond).ok()?))
}

/// A span for people, in at most two units: `0.1s`, `8.1s`, `3m07s`, `2h05m`, `3d04h`.
#[must_use]
pub(super) fn lasting(span: Span) -> String {
    let seconds = span.0 / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{}.{}s", seconds, span.0 % 1000 / 100),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

fn here(at: Timestamp) -> jiff::Zoned {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at.0).unwrap_or(0));
    at.unwrap_or_default().to_zoned(TimeZone::system())
}

#[cfg(test)]
mod tests {
    use super::{for_programs, lasting, parse};
    use otto_core::time::{Span, Timestamp};

    #[test]
    fn spans_are_short() {
        let check = |ms: u64, expected: &str| assert_eq!(lasting(Span(ms)), expected);
        check(0, "0.0s");
        check(149, "0.1s");
        check(8_100, "8.1s");
        check(59_999, "59.9s");
        check(187_000, "3m07s");
        check(7_500_000, "2h05m");
        check(273_600_000, "3d04h");
    }

    #[test]
    fn times_are_read_in_several_forms() {
        let now = Timestamp(1_795_000_000_000);
        assert_eq!(for_programs(now), "2026-11-18T11:06:40.000Z");
        assert_eq!(parse("2026-11-18T11:06:40Z", now), Some(now));
        assert!(parse("11:06:40", now).is_some());
        assert!(parse("2026-11-18 11:06", now).is_some());
        assert_eq!(parse("tomorrow", now), None);
    }
}
