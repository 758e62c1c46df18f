//! Descriptions of cron expressions in English.
//!
//! They are derived from the matching times: a step that does not divide its range, such as `*/45` in
//! the minutes, is described by the minutes it matches. A day field with an unknown letter is quoted.

use croner::Cron;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
/// Up to this many times of day are listed; more are described by minutes and hours.
const MAX_TIMES: usize = 6;

/// The fields of an expression.
pub(super) struct Fields<'a> {
    second: Option<&'a str>,
    minute: &'a str,
    hour: &'a str,
    day: &'a str,
    month: &'a str,
    weekday: &'a str,
    year: Option<&'a str>,
}

impl<'a> Fields<'a> {
    /// Splits an expression; `None` unless it has 5 to 7 fields.
    pub(super) fn of(expression: &'a str) -> Option<Self> {
        let fields: Vec<&str> = expression.split_whitespace().collect();
        let (second, rest, year) = match fields.as_slice() {
            rest @ [_, _, _, _, _] => (None, rest, None),
            [second, rest @ ..] if rest.len() == 5 => (Some(*second), rest, None),
            [second, rest @ .., year] if rest.len() == 5 => (Some(*second), rest, Some(*year)),
            _ => return None,
        };
        let [minute, hour, day, month, weekday] = rest else {
            return None;
        };
        Some(Self {
            second,
            minute,
            hour,
            day,
            month,
            weekday,
            year,
        })
    }

    /// Checks that no step is larger than its field: `*/90` in the minutes matches minute 0 only.
    pub(super) fn check_steps(&self) -> Result<(), String> {
        let fields = [
            ("second", self.second.unwrap_or("*"), 59),
            ("minute", self.minute, 59),
            ("hour", self.hour, 23),
            ("day", self.day, 31),
            ("month", self.month, 12),
            ("weekday", self.weekday, 7),
        ];
        for (name, field, largest) in fields {
            for item in field.split(',') {
                let Some((_, step)) = item.split_once('/') else {
                    continue;
                };
                if step.parse::<u32>().is_ok_and(|step| step > largest) {
                    return Err(format!(
                        "invalid {name} `{item}`: expected a step from 1 to {largest}, because each \
                         {next} starts over",
                        next = match name {
                            "second" => "minute",
                            "minute" => "hour",
                            "hour" => "day",
                            "day" => "month",
                            "month" => "year",
                            _ => "week",
                        }
                    ));
                }
            }
        }
        Ok(())
    }

    /// Describes when the expression matches; `cron` was parsed from the same text.
    pub(super) fn words(&self, cron: &Cron) -> String {
        let pattern = &cron.pattern;
        let all = |count: u32, matches: &dyn Fn(u32) -> bool| -> Vec<u32> {
            (0..count).filter(|value| matches(*value)).collect()
        };
        let seconds = all(60, &|second| pattern.second_match(second).unwrap_or(false));
        let minutes = all(60, &|minute| pattern.minute_match(minute).unwrap_or(false));
        let hours = all(24, &|hour| pattern.hour_match(hour).unwrap_or(false));
        let mut words = times(&seconds, &minutes, &hours);
        if let Some(days) = self.days(pattern.matches_dom_and_dow()) {
            words.push_str(&format!(", {days}"));
        } else if words.starts_with("at ") && hours.len() < 24 {
            words.push_str(", every day");
        }
        let months: Vec<&str> = (1..=12)
            .zip(MONTHS)
            .filter(|(month, _)| pattern.month_match(*month).unwrap_or(false))
            .map(|(_, name)| name)
            .collect();
        if months.len() < MONTHS.len() {
            words.push_str(&format!(", in {}", list(&months)));
        }
        if let Some(year) = self.year.filter(|year| *year != "*") {
            words.push_str(&format!(", in the year {year}"));
        }
        words
    }

    /// Describes the days; `None` for every day.
    fn days(&self, both: bool) -> Option<String> {
        let day = (!is_any(self.day)).then(|| days_of_month(self.day));
        let weekday = self.weekday.trim_start_matches('+');
        let weekday = (!is_any(weekday)).then(|| weekdays(weekday));
        match (day, weekday) {
            (None, None) => None,
            (Some(one), None) | (None, Some(one)) => Some(one),
            (Some(day), Some(weekday)) if both => Some(format!("{day} if it is also {weekday}")),
            (Some(day), Some(weekday)) => Some(format!("{day}, and also {weekday}")),
        }
    }
}

fn times(seconds: &[u32], minutes: &[u32], hours: &[u32]) -> String {
    let on_the_minute = seconds == [0];
    if on_the_minute && hours.len() * minutes.len() <= MAX_TIMES {
        let times = hours.iter().flat_map(|hour| {
            minutes
                .iter()
                .map(move |minute| format!("{hour:02}:{minute:02}"))
        });
        return format!("at {}", list(&times.collect::<Vec<_>>()));
    }
    let mut parts = Vec::new();
    if !on_the_minute {
        parts.push(unit("second", seconds, 60));
    }
    let every_some_seconds = parts.last().is_some_and(|part| part.starts_with("every"));
    match minutes.len() {
        60 if every_some_seconds => {}
        60 if !on_the_minute => parts.push("of every minute".to_owned()),
        _ => parts.push(unit("minute", minutes, 60)),
    }
    if hours.len() < 24 {
        parts.push(match unit("hour", hours, 24) {
            every if every.starts_with("every") => format!("of {every}"),
            at => at.replacen("at hour", "in hour", 1),
        });
    } else if parts.last().is_some_and(|part| part.starts_with("at")) {
        parts.push("of every hour".to_owned());
    }
    parts.join(" ")
}

/// Describes the values of a field: `every minute`, `every 15 minutes`, `at minutes 0 and 45`, `at
/// minutes 10 to 20`.
fn unit(name: &str, values: &[u32], count: u32) -> String {
    if values.len() == count as usize {
        return format!("every {name}");
    }
    if let [first, second, ..] = values {
        let step = second - first;
        let even = values.windows(2).all(|pair| pair[1] - pair[0] == step);
        let whole = *first == 0 && step * values.len() as u32 == count;
        if even && whole {
            return format!("every {step} {name}s");
        }
        if even && step == 1 && values.len() > 2 {
            let last = first + values.len() as u32 - 1;
            return format!("at {name}s {first} to {last}");
        }
    }
    let plural = if values.len() == 1 { "" } else { "s" };
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    format!("at {name}{plural} {}", list(&values))
}

fn is_any(field: &str) -> bool {
    matches!(field, "*" | "?")
}

fn days_of_month(field: &str) -> String {
    let parts: Vec<String> = field.split(',').map(day_of_month).collect();
    format!("on {}", list(&parts))
}

fn day_of_month(item: &str) -> String {
    let upper = item.to_uppercase();
    if upper == "L" {
        return "the last day of the month".to_owned();
    }
    if upper == "LW" {
        return "the last weekday (Monday to Friday) of the month".to_owned();
    }
    if let Some(day) = upper.strip_suffix('W').filter(|day| is_number(day)) {
        return format!("the weekday (Monday to Friday) nearest to day {day} of the month");
    }
    if is_number(item) {
        return format!("day {item} of the month");
    }
    if let Some((from, to)) = item
        .split_once('-')
        .filter(|(a, b)| is_number(a) && is_number(b))
    {
        return format!("days {from} to {to} of the month");
    }
    if let Some(step) = item
        .strip_prefix("*/")
        .and_then(|step| step.parse::<usize>().ok())
        && step > 0
    {
        let days: Vec<String> = (1..=31_u32)
            .step_by(step)
            .map(|day| day.to_string())
            .collect();
        return format!("days {} of the month", list(&days));
    }
    format!("days `{item}` of the month")
}

fn weekdays(field: &str) -> String {
    let parts: Vec<String> = field.split(',').map(weekday).collect();
    format!("on {}", list(&parts))
}

fn weekday(item: &str) -> String {
    if let Some(name) = weekday_name(item) {
        return name.to_owned();
    }
    if let Some((from, to)) = item.split_once('-')
        && let (Some(from), Some(to)) = (weekday_name(from), weekday_name(to))
    {
        return format!("{from} to {to}");
    }
    if let Some((day, number)) = item.split_once('#')
        && let Some(day) = weekday_name(day)
    {
        let nth = match number {
            "1" => "first",
            "2" => "second",
            "3" => "third",
            "4" => "fourth",
            "5" => "fifth",
            "l" | "L" => "last",
            _ => return format!("the weekdays `{item}`"),
        };
        return format!("the {nth} {day} of the month");
    }
    if let Some(day) = item.strip_suffix(['L', 'l']).and_then(weekday_name) {
        return format!("the last {day} of the month");
    }
    if let Some(step) = item
        .strip_prefix("*/")
        .and_then(|step| step.parse::<usize>().ok())
        && step > 0
    {
        let days: Vec<&str> = WEEKDAYS.into_iter().step_by(step).collect();
        return list(&days);
    }
    format!("the weekdays `{item}`")
}

/// Returns the weekday for `1` or `MON`; 0 and 7 are Sunday.
fn weekday_name(text: &str) -> Option<&'static str> {
    if let Ok(number) = text.parse::<usize>() {
        return (number <= 7).then(|| WEEKDAYS[number % 7]);
    }
    let text = text.to_uppercase();
    WEEKDAYS
        .into_iter()
        .find(|name| name[..3].to_uppercase() == text)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())
}

/// Joins items: `a`, `a and b`, `a, b and c`.
fn list(items: &[impl AsRef<str>]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match items.as_slice() {
        [] => "never".to_owned(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Timing;

    #[test]
    fn words_tell_the_times_that_match() {
        for (expression, words) in [
            ("30 2 * * *", "at 02:30, every day"),
            ("30 2 * * 1-5", "at 02:30, on Monday to Friday"),
            (
                "0,30 2,4 * * *",
                "at 02:00, 02:30, 04:00 and 04:30, every day",
            ),
            ("* * * * *", "every minute"),
            ("*/15 * * * *", "every 15 minutes"),
            ("*/45 * * * *", "at minutes 0 and 45 of every hour"),
            ("5 * * * *", "at minute 5 of every hour"),
            (
                "*/10 9-17 * * MON",
                "every 10 minutes in hours 9 to 17, on Monday",
            ),
            ("*/10 */2 * * *", "every 10 minutes of every 2 hours"),
            ("*/10 * * * * *", "every 10 seconds"),
            ("5 * * * * *", "at second 5 of every minute"),
            (
                "*/10 0 * * * *",
                "every 10 seconds at minute 0 of every hour",
            ),
            (
                "0 0 LW * *",
                "at 00:00, on the last weekday (Monday to Friday) of the month",
            ),
            ("0 0 L * *", "at 00:00, on the last day of the month"),
            (
                "0 0 15W * *",
                "at 00:00, on the weekday (Monday to Friday) nearest to day 15 of the month",
            ),
            ("0 0 * * 5L", "at 00:00, on the last Friday of the month"),
            (
                "0 0 * * MON#2",
                "at 00:00, on the second Monday of the month",
            ),
            (
                "0 0 1 * MON",
                "at 00:00, on day 1 of the month, and also on Monday",
            ),
            (
                "0 0 1 * +MON",
                "at 00:00, on day 1 of the month if it is also on Monday",
            ),
            (
                "0 0 1 1,7 *",
                "at 00:00, on day 1 of the month, in January and July",
            ),
            ("@midnight", "at 00:00, every day"),
            ("@DAILY", "at 00:00, every day"),
            ("@weekly", "at 00:00, on Sunday"),
            ("@hourly", "at minute 0 of every hour"),
        ] {
            let timing = Timing::parse(expression, "UTC");
            let timing = timing.unwrap_or_else(|error| panic!("{expression}: {error}"));
            assert_eq!(timing.words(), words, "{expression}");
        }
    }

    #[test]
    fn a_day_and_a_step_of_weekdays_are_told_as_the_rule_that_holds() {
        let timing = Timing::parse("0 0 1 * */2", "UTC").unwrap();
        assert_eq!(
            timing.words(),
            "at 00:00, on day 1 of the month, and also on Sunday, Tuesday, Thursday and Saturday"
        );
        // 2026-12-01 is a Tuesday; Wednesday does not match.
        let runs = timing.next_runs("2026-12-01T12:00:00Z".parse().unwrap(), 2);
        let days: Vec<String> = runs
            .iter()
            .map(|run| run.format("%F").to_string())
            .collect();
        assert_eq!(days, ["2026-12-03", "2026-12-05"]);
    }

    #[test]
    fn a_step_larger_than_its_field_is_rejected() {
        for expression in [
            "*/90 * * * *",
            "*/60 * * * *",
            "0 */24 * * *",
            "0 0 */32 * *",
            "0 0 * */13 *",
        ] {
            let error = Timing::parse(expression, "UTC").err().unwrap();
            assert_eq!(error.field, "cron_expression");
            assert!(
                error.message.contains("expected a step from 1 to"),
                "{error}"
            );
        }
        assert!(Timing::parse("*/59 */23 */31 */12 *", "UTC").is_ok());
    }
}
