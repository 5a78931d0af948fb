//! Times at which everything is compared, written as lsyncd has them: six fields, seconds first.
//!
//! `SECOND MINUTE HOUR DAY MONTH WEEKDAY`, each `*`, a number, a range `a-b`, either of them with a
//! step `/n`, or several of these with commas between. With five fields the second is 0. As with
//! cron, a day of the month and a day of the week that are both given each suffice.

use jiff::Zoned;
use jiff::civil::{Date, Time};

/// The values that a field admits, one bit each.
type Bits = u64;

/// When something is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crontab {
    seconds: Bits,
    minutes: Bits,
    hours: Bits,
    days: Bits,
    months: Bits,
    weekdays: Bits,
    /// Both days are given, so that either suffices.
    either_day: bool,
}

impl Crontab {
    /// Reads a line. Errors: what is wrong with it.
    pub fn parse(text: &str) -> Result<Crontab, String> {
        let mut fields: Vec<&str> = text.split_whitespace().collect();
        if fields.len() == 5 {
            fields.insert(0, "0");
        }
        let [second, minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(format!("{} fields, where six are wanted, seconds first", fields.len()));
        };
        let weekdays = field("weekday", weekday, 0, 7)?;
        let plan = Crontab {
            seconds: field("second", second, 0, 59)?,
            minutes: field("minute", minute, 0, 59)?,
            hours: field("hour", hour, 0, 23)?,
            days: field("day", day, 1, 31)?,
            months: field("month", month, 1, 12)?,
            // Sunday has two numbers.
            weekdays: if has(weekdays, 7) { weekdays | 1 } else { weekdays },
            either_day: *day != "*" && *weekday != "*",
        };
        let some = Date::constant(2000, 1, 1).at(0, 0, 0, 0);
        let some = some.to_zoned(jiff::tz::TimeZone::UTC).map_err(|error| error.to_string())?;
        plan.next(&some).map(|_| plan).ok_or_else(|| "there is no such day".to_owned())
    }

    /// The first moment after `now` that fits.
    pub fn next(&self, now: &Zoned) -> Option<Zoned> {
        let mut date = now.date();
        for _ in 0..DAYS_MAX {
            if self.fits(date) {
                let today = date == now.date();
                for time in self.times().filter(|&time| !today || time > now.time()) {
                    // A time that a day does not have is the next one it has.
                    let at = date.to_datetime(time).to_zoned(now.time_zone().clone()).ok()?;
                    if at > *now {
                        return Some(at);
                    }
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn times(&self) -> impl Iterator<Item = Time> + '_ {
        let set = |bits: Bits, max: i8| (0..max).filter(move |&n| has(bits, n));
        set(self.hours, 24).flat_map(move |hour| {
            set(self.minutes, 60).flat_map(move |minute| {
                set(self.seconds, 60)
                    .filter_map(move |second| Time::new(hour, minute, second, 0).ok())
            })
        })
    }

    fn fits(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        has(self.months, date.month())
            && if self.either_day { day || weekday } else { day && weekday }
    }
}

fn has(bits: Bits, number: i8) -> bool {
    bits >> u8::try_from(number).unwrap_or(63) & 1 == 1
}

fn field(name: &str, text: &str, min: u8, max: u8) -> Result<Bits, String> {
    let wrong = || format!("{text} is no {name}: wanted is {min} to {max}");
    let number =
        |text: &str| text.parse::<u8>().ok().filter(|n| (min..=max).contains(n)).ok_or_else(wrong);
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let step = step.parse::<usize>().ok().filter(|&n| n > 0).ok_or_else(wrong)?;
                (range, Some(step))
            }
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (min, max),
            Some((from, to)) => (number(from)?, number(to)?),
            None => (number(range)?, if step.is_some() { max } else { number(range)? }),
        };
        if from > to {
            return Err(wrong());
        }
        for value in (from..=to).step_by(step.unwrap_or(1)) {
            bits |= 1 << value;
        }
    }
    Ok(bits)
}

/// Days that are looked through: enough for any 29th of February.
const DAYS_MAX: usize = 366 * 8 + 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn after(line: &str, now: &str) -> String {
        let now: Zoned = now.parse().unwrap();
        let next = Crontab::parse(line).unwrap().next(&now).unwrap();
        next.strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    #[test]
    fn the_next_time_is_found() {
        // A failure would compare at another hour than the one that is written.
        let now = "2024-02-28T12:30:15[UTC]";
        for (line, want) in [
            ("1 0 3 * * *", "2024-02-29 03:00:01"),
            ("* * * * * *", "2024-02-28 12:30:16"),
            ("0 */20 * * * *", "2024-02-28 12:40:00"),
            ("0 0 4 1,15 * *", "2024-03-01 04:00:00"),
            ("0 0 4 29 2 *", "2024-02-29 04:00:00"),
            ("0 0 4 * * 7", "2024-03-03 04:00:00"),
            ("0 0 4 * * 1-5", "2024-02-29 04:00:00"),
            ("0 0 4 13 * 5", "2024-03-01 04:00:00"),
            ("30 12 * * *", "2024-02-29 12:30:00"),
            ("15/30 30 12 * * *", "2024-02-28 12:30:45"),
        ] {
            assert_eq!(after(line, now), want, "{line}");
        }
        assert_eq!(after("0 0 4 29 2 *", "2097-01-01T00:00:00[UTC]"), "2104-02-29 04:00:00");
    }

    #[test]
    fn what_is_no_time_is_told() {
        // A failure would never compare, or panic on a line that somebody wrote.
        for line in [
            "",
            "* * *",
            "60 * * * * *",
            "* * * 0 * *",
            "* * * * * 8",
            "5-1 * * * * *",
            "*/0 * * * * *",
            "x * * * * *",
            "0 0 0 31 2 *",
            "- * * * * *",
            "1,,2 * * * * *",
        ] {
            assert!(Crontab::parse(line).is_err(), "{line}");
        }
    }
}
