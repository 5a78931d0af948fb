//! When a run is to stop: `--stop-after`, `--stop-at`.
//!
//! Called by `parse`. What a point in time leaves out is filled in so that it is the next one that
//! fits. Units: minutes as given, seconds since 1970 as results.

use jiff::civil::{Date, Time};
use jiff::{ToSpan, Zoned};

use super::parse::{Draft, UsageError};
use super::table::Opt;

/// Why a point in time is none.
#[derive(Debug, PartialEq, Eq)]
pub enum StopFlaw {
    /// It does not read as one.
    Format,
    /// It is over.
    Past,
}

/// Years in which a month and a day must come again: the 29th of February takes eight at most.
const YEARS: i16 = 8;

/// What `--stop-after` or `--stop-at` means now.
pub(super) fn read(draft: &Draft, opt: Opt, value: &[u8]) -> Result<i64, UsageError> {
    let now = Zoned::now();
    let (found, what) = match opt {
        Opt::StopAfter => {
            let found = after(value, now.timestamp().as_second()).ok_or(StopFlaw::Format);
            (found, "invalid --stop-after value: ")
        }
        _ => (at(value, &now), "invalid --stop-at format: "),
    };
    let text = |flaw| match flaw {
        StopFlaw::Format => what,
        StopFlaw::Past => "--stop-at time is not in the future: ",
    };
    found.map_err(|flaw| draft.error([text(flaw).as_bytes(), value].concat()))
}

/// So many minutes from now, read as far as digits go; none where that is nothing.
pub fn after(text: &[u8], now: i64) -> Option<i64> {
    let text = text.trim_ascii_start();
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let digits = text.iter().take_while(|b| b.is_ascii_digit());
    let minutes =
        digits.fold(0_i64, |sum, b| sum.saturating_mul(10).saturating_add(i64::from(b - b'0')));
    (minutes > 0).then(|| now.saturating_add(minutes.saturating_mul(60)))
}

/// `[[Y-]M-]D[Th:m]`, `[T]h:m` or `:m`, with `/` for `-` at will.
pub fn at(text: &[u8], now: &Zoned) -> Result<i64, StopFlaw> {
    let text = std::str::from_utf8(text).map_err(|_| StopFlaw::Format)?;
    if let Some(minute) = text.strip_prefix(':') {
        let minute = number(minute, 0, 59)?;
        let this = now.date().at(now.hour(), narrow(minute)?, 0, 0);
        return first(now, [this, this.saturating_add(1.hour())]);
    }
    let (date, time) = match text.split_once(['T', 't']) {
        Some(("", time)) => (None, Some(time)),
        Some((date, "")) => (Some(date), None),
        Some((date, time)) => (Some(date), Some(time)),
        None if text.contains(':') => (None, Some(text)),
        None => (Some(text), None),
    };
    let time = match time {
        None => Time::midnight(),
        Some(time) => {
            let (hour, minute) = time.split_once(':').ok_or(StopFlaw::Format)?;
            let (hour, minute) = (number(hour, 0, 23)?, number(minute, 0, 59)?);
            Time::new(narrow(hour)?, narrow(minute)?, 0, 0).map_err(|_| StopFlaw::Format)?
        }
    };
    let Some(date) = date else {
        let today = now.date().to_datetime(time);
        return first(now, [today, today.saturating_add(1.day())]);
    };
    let parts: Vec<&str> = date.split(['-', '/']).collect();
    match parts.as_slice() {
        [day] => {
            let day = number(day, 1, 31)?;
            let months = (0..=YEARS * 12).map(|more| now.date().first_of_month() + more.months());
            first(now, months.filter_map(|start| on(start, day)).map(|d| d.to_datetime(time)))
        }
        [month, day] => {
            let (month, day) = (narrow(number(month, 1, 12)?)?, number(day, 1, 31)?);
            let years = (0..=YEARS).filter_map(|more| Date::new(now.year() + more, month, 1).ok());
            first(now, years.filter_map(|start| on(start, day)).map(|d| d.to_datetime(time)))
        }
        [year, month, day] => {
            let year = number(year, 0, i64::from(i32::MAX))?;
            let (month, day) = (narrow(number(month, 1, 12)?)?, number(day, 1, 31)?);
            let century = i64::from(now.year() - now.year() % 100);
            let years =
                if year < 100 { vec![century + year, century + 100 + year] } else { vec![year] };
            // A day that the month does not have is one of the next.
            let days = years.into_iter().map(|year| {
                let year = i16::try_from(year).unwrap_or(i16::MAX).min(LAST_YEAR);
                let start = Date::new(year, month, 1).unwrap_or(Date::MAX);
                start.saturating_add((day - 1).days()).to_datetime(time)
            });
            match first(now, days) {
                Err(StopFlaw::Format) => Err(StopFlaw::Past),
                other => other,
            }
        }
        _ => Err(StopFlaw::Format),
    }
}

/// The last year that there is a calendar for.
const LAST_YEAR: i16 = 9998;

fn number(text: &str, min: i64, max: i64) -> Result<i64, StopFlaw> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let value: i64 = text.parse().map_err(|_| StopFlaw::Format)?;
    if digits && (min..=max).contains(&value) { Ok(value) } else { Err(StopFlaw::Format) }
}

fn narrow(value: i64) -> Result<i8, StopFlaw> {
    i8::try_from(value).map_err(|_| StopFlaw::Format)
}

/// A day of the month that begins at `start`, where it has such a day.
fn on(start: Date, day: i64) -> Option<Date> {
    let date = start.saturating_add((day - 1).days());
    (date.month() == start.month()).then_some(date)
}

/// The first that is still to come, in the zone of `now`.
fn first(
    now: &Zoned,
    times: impl IntoIterator<Item = jiff::civil::DateTime>,
) -> Result<i64, StopFlaw> {
    let seconds = |time: jiff::civil::DateTime| {
        Some(time.to_zoned(now.time_zone().clone()).ok()?.timestamp())
    };
    let found = times.into_iter().filter_map(seconds).find(|time| *time > now.timestamp());
    found.map(|time| time.as_second()).ok_or(StopFlaw::Format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn next(text: &str) -> Result<String, StopFlaw> {
        let now: Zoned = "2026-11-23T14:27:08[UTC]".parse().unwrap();
        let found = at(text.as_bytes(), &now)?;
        Ok(jiff::Timestamp::from_second(found).unwrap().strftime("%Y-%m-%d %H:%M").to_string())
    }

    #[test]
    fn what_is_left_out_is_filled_in_with_the_next_that_fits() {
        let cases = [
            (":30", "2026-11-23 14:30"),
            (":27", "2026-11-23 15:27"),
            ("14:28", "2026-11-23 14:28"),
            ("5:5", "2026-11-24 05:05"),
            ("T10:00", "2026-11-24 10:00"),
            ("23", "2026-12-23 00:00"),
            ("31", "2026-12-31 00:00"),
            ("24t10:00", "2026-11-24 10:00"),
            ("11-23", "2027-11-23 00:00"),
            ("11-23T23:59", "2026-11-23 23:59"),
            ("6/7", "2027-06-07 00:00"),
            ("2-29", "2028-02-29 00:00"),
            ("12-31T", "2026-12-31 00:00"),
            ("26-12-1", "2026-12-01 00:00"),
            ("20-1-1", "2120-01-01 00:00"),
            ("026-12-1", "2026-12-01 00:00"),
            ("2027-02-29", "2027-03-01 00:00"),
            ("2026/12-1", "2026-12-01 00:00"),
        ];
        for (text, expected) in cases {
            assert_eq!(next(text), Ok(expected.to_string()), "{text}");
        }
    }

    #[test]
    fn what_is_over_or_no_time_is_told() {
        for text in ["2026-11-23", "1999-1-1", "100-1-1", "2026-2-30"] {
            assert_eq!(next(text), Err(StopFlaw::Past), "{text}");
        }
        for text in [
            "",
            ":",
            "T",
            "10:",
            "24:00",
            "23:60",
            "0",
            "31-31",
            "2-30",
            "2026-12",
            "1-2-3-4",
            "+5",
            "12-31T:30",
            "12-31T5",
            "1:2:3",
            "2026-13-1",
            "5-",
            "/5",
        ] {
            assert_eq!(next(text), Err(StopFlaw::Format), "{text}");
        }
    }

    #[test]
    fn minutes_are_read_as_far_as_they_go() {
        assert_eq!(after(b" 5x", 100), Some(400));
        assert_eq!(after(b"+1.5", 0), Some(60));
        for text in [b"0".as_slice(), b"-1", b"abc", b""] {
            assert_eq!(after(text, 0), None);
        }
    }
}
