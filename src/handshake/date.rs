//! The time of day in HTTP (RFC 9110 section 5.6.7).

use std::fmt;
use std::time::Duration;

/// A date and time to the second, which is written as in `Date`: `Sun, 06 Nov 1994 08:49:37 GMT`.
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
    /// The date and time that is this long after the beginning of 1970, as `SystemTime` tells by
    /// `duration_since(UNIX_EPOCH)`. Years have four digits: those after 9999 are the last second of it.
    #[must_use]
    pub fn since_1970(duration: Duration) -> Self {
        Self(duration.as_secs().min(LAST))
    }

    /// Reads a date in the form that everybody must write (`IMF-fixdate`, RFC 9110 section 5.6.7); `None` for
    /// anything else. The day of the week is not held against the others.
    ///
    /// ```
    /// use framewire::handshake::HttpDate;
    ///
    /// let date = HttpDate::parse("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
    /// assert_eq!(date.duration_since_1970().as_secs(), 784_111_777);
    /// assert_eq!(HttpDate::parse("tomorrow"), None);
    /// ```
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = |from: usize, to: usize| {
            let digits = text.get(from..to)?;
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u64>().ok().filter(|_| is_number)
        };
        let (day, year) = (number(5, 7)?, number(12, 16)?);
        let (hour, minute, second) = (number(17, 19)?, number(20, 22)?, number(23, 25)?);
        let month = MONTHS.iter().position(|month| text.get(8..11) == Some(month))? as u64;
        let is_date = (1..=31).contains(&day) && year >= 1970;
        if !is_date || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let from = year - u64::from(month >= 10);
        let of_year = (153 * month + 2) / 5 + day - 1;
        let days = 365 * from + from / 4 - from / 100 + from / 400 + of_year - 719_468;
        let date = Self(days * 86_400 + hour * 3600 + minute * 60 + second.min(59));
        // Formatted again it gives the same text only if everything is in its place and the day exists.
        let written = date.to_string();
        let (written, read) = (written.get(3..23)?, text.get(3..23)?);
        (text.len() == 29 && written == read && text.ends_with(" GMT")).then_some(date)
    }

    /// How long after the beginning of 1970 it is.
    #[must_use]
    pub fn duration_since_1970(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

/// The last second of the year 9999.
const LAST: u64 = 253_402_300_799;

/// Years begin in March here, so that a leap day is the last of its own.
const MONTHS: [&str; 12] =
    ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];

impl fmt::Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
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
            assert_eq!(HttpDate::parse(expected), Some(date), "{seconds}");
        }
    }

    #[test]
    fn what_is_no_date() {
        for text in [
            "",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Wed, 29 Feb 2023 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "Sun, 06 Nov 1994 08:49:37 GM\u{e4}",
        ] {
            assert_eq!(HttpDate::parse(text), None, "{text:?}");
        }
        let leap = HttpDate::parse("Sat, 31 Dec 2016 23:59:60 GMT").map(|date| date.to_string());
        assert_eq!(leap.as_deref(), Some("Sat, 31 Dec 2016 23:59:59 GMT"));
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
