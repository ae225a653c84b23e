//! Time zones: by their names in the IANA database, or by what they are apart from UTC (`timestampVisitor` in cel-go).
use super::eval::Failure;
use super::{function, operator};
use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;
use kube::core::cel::cel::Value;
use std::sync::LazyLock;

/// The zones that the program brings along: those of the machine would make its answers depend on where it runs.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The time as the clocks of a zone show it, told as if it were UTC.
///
/// # Errors
/// When there is no such zone, or the time is none that clocks show.
pub(super) fn local(at: &Value, zone: &str) -> Result<Value, Failure> {
    let seconds = match zone.split_once(':') {
        Some((hours, minutes)) => {
            let (hours, minutes) = (number(hours)?, number(minutes)?);
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            60 * (60 * hours + sign * minutes)
        }
        // What a server calls local is no matter of an expression.
        None if matches!(zone, "" | "UTC" | "Local") => 0,
        None => of_name(at, zone)?,
    };
    let apart = Value::from(format!("{seconds}s"));
    let apart = function::call("duration", None, &[apart])?;
    operator::add(at.clone(), apart)
}

/// How many seconds the zone is ahead of UTC at that time.
fn of_name(at: &Value, name: &str) -> Result<i64, Failure> {
    let unknown = || Failure::Error(format!("unknown time zone {name}"));
    let zone = ZONES.get(name).map_err(|_| unknown())?;
    // Names are told apart by case.
    if zone.iana_name() != Some(name) {
        return Err(unknown());
    }
    let Value::Timestamp(at) = at else {
        return Err(Failure::error("no such overload"));
    };
    let at = Timestamp::from_second(at.timestamp());
    let at = at.map_err(|error| Failure::Error(error.to_string()))?;
    Ok(zone.to_offset(at).seconds().into())
}

fn number(text: &str) -> Result<i64, Failure> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number =
        !digits.is_empty() && digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_number);
    number.ok_or_else(|| Failure::Error(format!("strconv.Atoi: parsing {text:?}: invalid syntax")))
}
