//! How the differentials of a series grow, and when they will cross `diff_threshold`. Pure: sizes and times in, a line through them out.

use crate::format::Timestamp;

/// A day that lies further ahead than this is none that anybody plans for.
const HORIZON_SECS: f64 = 3_660.0 * 86_400.0;

/// Of a longer series only so many differentials, the newest, are looked at: each is held against each.
const MOST: usize = 200;

/// One differential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it was made.
    pub time: Timestamp,
    /// Its size: see [`crate::format::Counts::size_bytes`].
    pub size_bytes: u64,
}

/// Where the growth of a series leads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// Bytes that a differential of the next day is larger by; not above 0 where it does not grow.
    pub bytes_per_day: f64,
    /// When the line through the differentials crosses the threshold: not before the newest of them. None where it never does, or not in ten years.
    pub crosses: Option<Timestamp>,
}

/// Lays a line through the differentials of one series: the median of the slopes between any two of them (Theil and Sen), so that one odd day
/// in four does not turn it. `threshold_bytes` is [`super::decision::threshold_bytes`] of the full. None with fewer than two differentials, or where all are of one second.
#[must_use]
pub fn fit(samples: &[Sample], threshold_bytes: u64) -> Option<Growth> {
    let mut samples = samples.to_vec();
    samples.sort_unstable_by_key(|sample| sample.time);
    let samples = &samples[samples.len().saturating_sub(MOST)..];
    let newest = samples.last()?;
    let after = |time: Timestamp| lossy(time.secs.saturating_sub(newest.time.secs));
    let size = |sample: &Sample| lossy(i64::try_from(sample.size_bytes).unwrap_or(i64::MAX));
    let places: Vec<(f64, f64)> = samples.iter().map(|sample| (after(sample.time), size(sample))).collect();
    let pairs = places.iter().enumerate().flat_map(|(at, one)| places[at + 1..].iter().map(move |two| (one, two)));
    let slope = median(pairs.filter(|(one, two)| one.0 != two.0).map(|(one, two)| (two.1 - one.1) / (two.0 - one.0)))?;
    // At the newest differential, whose time is 0.
    let height = median(places.iter().map(|(time, size)| size - slope * time))?;
    let left = lossy(i64::try_from(threshold_bytes).unwrap_or(i64::MAX)) - height;
    let crosses = if newest.size_bytes > threshold_bytes {
        Some(newest.time)
    } else if slope > 0.0 && left / slope <= HORIZON_SECS {
        #[expect(clippy::cast_possible_truncation, reason = "it was just bounded")]
        Some(newest.time.plus_secs((left / slope).max(0.0).ceil() as i64))
    } else {
        None
    };
    Some(Growth { bytes_per_day: slope * 86_400.0, crosses })
}

/// The middle value, or the mean of the two in the middle.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        len if len % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a forecast is no more exact than that")]
const fn lossy(number: i64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn days(sizes: &[u64]) -> Vec<Sample> {
        (1..).zip(sizes).map(|(day, size)| Sample { time: Timestamp::new(day * DAY, 0), size_bytes: *size }).collect()
    }

    #[track_caller]
    fn crosses_on_day(sizes: &[u64], threshold: u64) -> Option<i64> {
        fit(&days(sizes), threshold).unwrap().crosses.map(|time| time.secs / DAY)
    }

    #[test]
    fn steady_growth_crosses_on_the_day_that_arithmetic_says() {
        assert_eq!(crosses_on_day(&[10, 20, 30], 50), Some(5));
        assert_eq!(crosses_on_day(&[10, 20], 100), Some(10));
        let growth = fit(&days(&[10, 20, 30]), 50).unwrap();
        assert!((growth.bytes_per_day - 10.0).abs() < 1e-9);
    }

    #[test]
    fn what_does_not_grow_never_crosses() {
        for sizes in [&[10, 10, 10][..], &[30, 20, 10], &[10, 30, 10, 10, 10]] {
            assert_eq!(crosses_on_day(sizes, 50), None, "{sizes:?}");
        }
        // A byte a day would take longer than anybody plans for.
        assert_eq!(crosses_on_day(&[10, 11, 12], 1 << 40), None);
    }

    #[test]
    fn one_odd_day_does_not_turn_the_line() {
        let steady = crosses_on_day(&[10, 20, 30, 40, 50, 60], 100);
        assert_eq!(steady, Some(10));
        assert_eq!(crosses_on_day(&[10, 20, 99, 40, 50, 60], 100), steady);
        assert_eq!(crosses_on_day(&[10, 20, 30, 0, 50, 60], 100), steady);
    }

    #[test]
    fn what_is_above_the_threshold_has_crossed_it() {
        assert_eq!(crosses_on_day(&[10, 20, 60], 50), Some(3));
        assert_eq!(crosses_on_day(&[90, 80, 60], 50), Some(3));
    }

    #[test]
    fn too_little_to_see_growth_gives_no_line() {
        assert_eq!(fit(&[], 50), None);
        assert_eq!(fit(&days(&[10]), 50), None);
        let twice = [10, 90].map(|size_bytes| Sample { time: Timestamp::new(5, 0), size_bytes });
        assert_eq!(fit(&twice, 50), None);
    }

    #[test]
    fn order_does_not_matter_and_extremes_do_no_harm() {
        let mut samples = days(&[10, 20, 30]);
        samples.reverse();
        assert_eq!(fit(&samples, 50), fit(&days(&[10, 20, 30]), 50));
        let ends = [(i64::MIN, 0), (i64::MAX, u64::MAX)]
            .map(|(secs, size_bytes)| Sample { time: Timestamp::new(secs, 0), size_bytes });
        assert!(fit(&ends, u64::MAX).is_some());
        assert!(fit(&ends, 0).unwrap().crosses.is_some());
    }
}
