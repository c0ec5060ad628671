//! Sizes and times as people write them: `4GiB`, `1h30m`.

const SIZES: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

const TIMES: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

/// Bytes of a size such as `4GiB`.
///
/// # Errors
/// Says what a size looks like.
pub fn size(text: &str) -> Result<u64, String> {
    let fail = || format!("`{text}` is not a size (a whole number and a unit, as in `512MiB` or `20GB`)");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(fail)?;
    let number: u64 = text[..digits].parse().map_err(|_| fail())?;
    let unit = text[digits..].trim_start();
    let (_, factor) = SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(fail)?;
    number.checked_mul(*factor).filter(|bytes| *bytes > 0).ok_or_else(fail)
}

/// Seconds of a time such as `90s`, `5m` or `1h30m`; at least one second, at most a year.
///
/// # Errors
/// Says what a time looks like.
pub fn duration(text: &str) -> Result<u64, String> {
    let fail = || format!("`{text}` is not a time (a whole number and a unit, as in `30s`, `5m`, `1h30m`, `2d`)");
    let mut rest = text;
    let mut units = TIMES.iter();
    let mut seconds: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(fail)?;
        let number: u64 = rest[..digits].parse().map_err(|_| fail())?;
        let unit = rest[digits..].chars().next().ok_or_else(fail)?;
        // The iterator goes on where it stopped: units come in falling order, each once.
        let (_, factor) = units.find(|(name, _)| *name == unit).ok_or_else(fail)?;
        seconds = number.checked_mul(*factor).and_then(|part| seconds.checked_add(part)).ok_or_else(fail)?;
        rest = &rest[digits + 1..];
    }
    if (1..=366 * 86_400).contains(&seconds) { Ok(seconds) } else { Err(fail()) }
}

/// Bytes as people say them: in the largest unit that leaves no fraction.
#[must_use]
pub fn in_words(bytes: u64) -> String {
    let units = [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let fits = units.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    fits.map_or_else(|| format!("{bytes} B"), |(name, factor)| format!("{} {name}", bytes / factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("4GiB"), Ok(4 << 30));
        assert_eq!(size("20 GB"), Ok(20_000_000_000));
        for bad in ["", "4", "GiB", "4gib", "4 Gi", "-1GiB", "1.5GiB", "0B", "99999999999TiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert_eq!(
            size("4G").expect_err("no such unit"),
            "`4G` is not a size (a whole number and a unit, as in `512MiB` or `20GB`)"
        );
    }

    #[test]
    fn bytes_are_said_in_the_largest_unit_that_is_exact() {
        for (bytes, text) in
            [(0, "0 B"), (1536, "1536 B"), (3 << 10, "3 KiB"), (20 << 30, "20 GiB"), (5 << 40, "5 TiB")]
        {
            assert_eq!(in_words(bytes), text);
        }
    }

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("1h30m", 5400), ("2d", 172_800)] {
            assert_eq!(duration(text), Ok(seconds), "{text}");
        }
        for bad in ["", "5", "m", "5 m", "30m1h", "1m1m", "0s", "5min", "9999d", "é", "5é"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(
            duration("5min").expect_err("no such unit"),
            "`5min` is not a time (a whole number and a unit, as in `30s`, `5m`, `1h30m`, `2d`)"
        );
    }
}
