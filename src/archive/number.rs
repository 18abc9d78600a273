//! Numbers as headers hold them: octal digits, or bytes where the first has its highest bit set; and the decimal ones of pax.

use crate::format::Timestamp;

/// The number in a field of a header.
pub(super) fn field(bytes: &[u8]) -> Option<i128> {
    match bytes.first()? {
        first if first & 0x80 != 0 => {
            // Two's complement: the first byte is all ones where the number is negative.
            let begin = if *first == 0xff { -1 } else { i128::from(first & 0x7f) };
            let shifted = |value: i128, byte: &u8| Some(value.checked_mul(256)? + i128::from(*byte));
            bytes[1..].iter().try_fold(begin, shifted)
        }
        _ => {
            let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default().trim_ascii();
            let digit = |value: i128, byte: &u8| {
                let digit = matches!(byte, b'0'..=b'7').then(|| i128::from(byte - b'0'))?;
                value.checked_mul(8)?.checked_add(digit)
            };
            text.iter().try_fold(0, digit)
        }
    }
}

/// A decimal number of a pax header.
pub(super) fn decimal<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| str::from_utf8(text).ok()?.parse().ok()).flatten()
}

/// A time of a pax header: seconds with a fraction, which may be negative.
pub(super) fn time(text: &[u8]) -> Option<Timestamp> {
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &b""[..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanos =
        (0..9).fold(0, |nanos: u32, at| nanos * 10 + fraction.get(at).map_or(0, |digit| u32::from(digit - b'0')));
    let secs: i64 = decimal(whole)?;
    if !whole.starts_with(b"-") || nanos == 0 {
        return Some(Timestamp::new(secs, nanos));
    }
    Some(Timestamp::new(secs.checked_sub(1)?, 1_000_000_000 - nanos))
}

/// A time as a pax header says it.
pub(super) fn time_text(time: Timestamp) -> String {
    let Timestamp { secs, nanos } = time;
    match (secs, nanos) {
        (_, 0) => secs.to_string(),
        (0.., _) => format!("{secs}.{nanos:09}"),
        (-1, _) => format!("-0.{:09}", 1_000_000_000 - nanos),
        _ => format!("{}.{:09}", secs + 1, 1_000_000_000 - nanos),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_headers_are_octal_or_bytes_of_either_sign() {
        assert_eq!(field(b"0000644\0"), Some(0o644));
        assert_eq!(field(b"   644 \0"), Some(0o644));
        assert_eq!(field(b"\0\0\0\0"), Some(0));
        assert_eq!(field(b"\x80\0\0\0\0\0\0\x02\0\0\0\0"), Some(2 << 32));
        assert_eq!(field(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(-2));
        for wrong in [&b"12x4567\0"[..], b"9", b"-1", b""] {
            assert_eq!(field(wrong), None);
        }
    }

    #[test]
    fn times_of_pax_go_both_ways_below_zero_too() {
        let times =
            [(0, 0), (5, 1), (-1, 500_000_000), (-315_619_200, 123_456_789), (4_102_444_800, 987_654_321), (-7, 0)];
        for (secs, nanos) in times {
            let moment = Timestamp::new(secs, nanos);
            assert_eq!(time(time_text(moment).as_bytes()), Some(moment), "{}", time_text(moment));
        }
        assert_eq!(time_text(Timestamp::new(-315_619_200, 123_456_789)), "-315619199.876543211");
        assert_eq!(time(b"1.5"), Some(Timestamp::new(1, 500_000_000)));
        assert_eq!(time(b"1.1234567899"), Some(Timestamp::new(1, 123_456_789)));
        for wrong in [&b""[..], b".5", b"1.x", b"--1", b"1e9", b"99999999999999999999"] {
            assert_eq!(time(wrong), None);
        }
    }
}
