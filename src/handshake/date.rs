//! The time of day in HTTP (RFC 9110 section 5.6.7).

use std::fmt;
use std::time::Duration;

/// A second of the calendar, which is written as `Date` has it: `Sun, 06 Nov 1994 08:49:37 GMT`.
///
/// ```
/// use framewire::handshake::HttpDate;
/// use std::time::Duration;
///
/// let date = HttpDate::since_1970(Duration::from_secs(784_111_777));
/// assert_eq!(date.to_string(), "Sun, 06 Nov 1994 08:49:37 GMT");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpDate(u64);

impl HttpDate {
    /// The second that is so far from the beginning of 1970, as `SystemTime` tells by
    /// `duration_since(UNIX_EPOCH)`. Years have four digits: those after 9999 are the last second of it.
    #[must_use]
    pub fn since_1970(duration: Duration) -> Self {
        Self(duration.as_secs().min(LAST))
    }
}

/// The last second of the year 9999.
const LAST: u64 = 253_402_300_799;

impl fmt::Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] =
            ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];
        let (days, second) = (self.0 / 86_400, self.0 % 86_400);
        // In eras of 400 years, each of which begins on the first of March, so that a leap day is the last of
        // its year; 719,468 days lie between that of the year 0 and 1970.
        let (era, of_era) = ((days + 719_468) / 146_097, (days + 719_468) % 146_097);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let year = 400 * era + year + u64::from(month >= 10);
        let [weekday, name] = [DAYS[(days % 7) as usize], MONTHS[month as usize]];
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{weekday}, {day:02} {name} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (86_399, "Thu, 01 Jan 1970 23:59:59 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (LAST, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let date = HttpDate::since_1970(Duration::from_secs(seconds));
            assert_eq!(date.to_string(), expected, "{seconds}");
        }
    }

    /// Every day of 800 years is the day after the one before.
    #[test]
    fn days_follow_each_other() {
        let mut day = (1, 0, 1970);
        let months =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        for count in 0..292_000_u64 {
            let date = HttpDate::since_1970(Duration::from_secs(count * 86_400)).to_string();
            let expected = format!(", {:02} {} {} ", day.0, months[day.1], day.2);
            assert!(date.contains(&expected), "{date} {expected}");
            let leap = day.2 % 4 == 0 && (day.2 % 100 != 0 || day.2 % 400 == 0);
            let length = [31, 28 + u32::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][day.1];
            day = match day {
                (last, 11, year) if last == length => (1, 0, year + 1),
                (last, month, year) if last == length => (1, month + 1, year),
                (other, month, year) => (other + 1, month, year),
            };
        }
    }
}
