//! The date format of HTTP: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).

use session_core::Timestamp;

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The date of `time`, rounded up to the second, so that nothing ends before its time. Times before 1970 are
/// written as 1970, and times after 9999 as its last second.
pub(super) fn http_date(time: Timestamp) -> String {
    let millis = time.clamp(Timestamp::EPOCH, Timestamp::MAX).as_millis();
    // The last second of 9999 cannot be rounded up: the year has four digits.
    let seconds = ((millis + 999) / 1_000).min(Timestamp::MAX.as_millis() / 1_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let weekday = DAYS[index(days % 7)];
    let month = MONTHS[index(month - 1)];
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// Year, month (1 to 12) and day of the month, from days since 1970-01-01.
///
/// Counted in years that begin in March, so that the leap day is the last of its year: 400 of them have 146,097 days.
fn civil(days: i64) -> (i64, i64, i64) {
    let since_march_of_year_0 = days + 719_468;
    let era = since_march_of_year_0 / 146_097;
    let day_of_era = since_march_of_year_0 % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

fn index(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        for (millis, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777_000, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400_000, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_164_800_000, "Thu, 29 Feb 2024 00:00:00 GMT"),
            (1_709_251_199_001, "Fri, 01 Mar 2024 00:00:00 GMT"),
            (4_107_542_399_000, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400_000, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (253_402_300_799_999, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (i64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (-5, "Thu, 01 Jan 1970 00:00:00 GMT"),
        ] {
            assert_eq!(http_date(Timestamp::from_millis(millis)), text);
        }
    }

    #[test]
    fn each_day_until_the_year_2400_follows_the_day_before() {
        let mut last = civil(0);
        for day in 1..157_000 {
            let next = civil(day);
            let same_month = next == (last.0, last.1, last.2 + 1);
            let next_month = last.2 >= 28 && next == (last.0, last.1 + 1, 1);
            let next_year = last.1 == 12 && last.2 == 31 && next == (last.0 + 1, 1, 1);
            assert!(same_month || next_month || next_year, "{last:?} then {next:?}");
            last = next;
        }
        assert_eq!(last.0, 2399);
    }
}
