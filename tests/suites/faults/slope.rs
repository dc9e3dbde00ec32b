//! Whether a figure grows with time, told from looks at it that are full of ups and downs.

use std::fmt;
use std::time::Duration;

/// Looks are gathered into so many at most; all pairs of them are compared.
const POINTS: usize = 300;
/// A shorter watch tells nothing: what is held grows to its usual size at first.
pub(super) const LEAST_HOURS: f64 = 5.0 / 60.0;

/// What a figure may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    /// Its name and unit.
    pub(super) what: &'static str,
    /// It may grow so much in an hour.
    pub(super) per_hour: f64,
    /// Growth over the whole watch that is no more than its ups and downs.
    pub(super) sway: f64,
}

/// A figure over time.
#[derive(Clone, Debug)]
pub(super) struct Series {
    bound: Bound,
    /// Hours and values.
    points: Vec<(f64, f64)>,
}

/// What stands above the columns of a shown [`Series`].
pub(super) const HEAD: &str =
    "figure                    first third  last third     most   slope/h   bound/h    grown     sway";

impl Series {
    pub(super) fn new(bound: Bound) -> Self {
        Self { bound, points: Vec::new() }
    }

    pub(super) fn add(&mut self, at: Duration, value: f64) {
        self.points.push((at.as_secs_f64() / 3600.0, value));
    }

    /// How many looks there were.
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// The largest value that was seen.
    pub(super) fn most(&self) -> f64 {
        self.points.iter().map(|(_, value)| *value).fold(0.0, f64::max)
    }

    /// The slope for an hour: the median of the slopes between any two points (Theil and Sen), which a few outliers do not move.
    fn slope(&self) -> f64 {
        let points = self.gathered();
        let mut slopes = Vec::new();
        for (index, (at, value)) in points.iter().enumerate() {
            slopes.extend(points[index + 1..].iter().map(|(later, other)| (other - value) / (later - at)));
        }
        median(slopes)
    }

    fn watched_hours(&self) -> f64 {
        match (self.points.first(), self.points.last()) {
            (Some((first, _)), Some((last, _))) => last - first,
            _ => 0.0,
        }
    }

    /// How much it has grown by that slope from the first look to the last.
    fn grown(&self) -> f64 {
        self.slope() * self.watched_hours()
    }

    /// Whether it was watched for long enough to tell.
    pub(super) fn is_judged(&self) -> bool {
        self.watched_hours() >= LEAST_HOURS
    }

    /// Whether it grows by more than its bound, and by more than it goes up and down anyway.
    pub(super) fn is_beyond(&self) -> bool {
        self.is_judged() && self.slope() > self.bound.per_hour && self.grown() > self.bound.sway
    }

    /// Neighbours as one, by their medians.
    fn gathered(&self) -> Vec<(f64, f64)> {
        let size = self.points.len().div_ceil(POINTS).max(1);
        let middle = |points: &[(f64, f64)]| {
            (points[points.len() / 2].0, median(points.iter().map(|(_, value)| *value).collect()))
        };
        self.points.chunks(size).map(middle).collect()
    }

    fn third(&self, last: bool) -> f64 {
        let third = self.points.len() / 3;
        let points = if last { &self.points[2 * third..] } else { &self.points[..third] };
        median(points.iter().map(|(_, value)| *value).collect())
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.most();
        write!(
            f,
            "{:<25} {:>11.1} {:>11.1} {most:>8.1} {:>9.1} {:>9.1} {:>8.1} {:>8.1}{}",
            self.bound.what,
            self.third(false),
            self.third(true),
            self.slope(),
            self.bound.per_hour,
            self.grown(),
            self.bound.sway,
            match (self.is_judged(), self.is_beyond()) {
                (false, _) => "  not judged",
                (true, true) => "  GROWS",
                (true, false) => "",
            }
        )
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look each second for some minutes, with ups and downs of 10.
    fn watched(minutes: u64, per_hour: f64) -> Series {
        let mut series = Series::new(Bound { what: "figure", per_hour: 16.0, sway: 8.0 });
        for second in 0..minutes * 60 {
            let (up, spike) = ((second * 7_919 % 11) as f64 - 5.0, if second == 100 { 1e6 } else { 0.0 });
            series.add(Duration::from_secs(second), 100.0 + up + spike + per_hour * second as f64 / 3600.0);
        }
        series
    }

    /// Guarantee: a slope is found below ups and downs and an outlier; none is seen where there is none; a watch that is too short to tell
    /// says nothing.
    #[test]
    fn a_slope_is_told_from_ups_and_downs() {
        assert!(!watched(10, 0.0).is_beyond() && !watched(120, 0.0).is_beyond());
        assert!(watched(60, 40.0).is_beyond(), "{}", watched(60, 40.0));
        assert!((watched(60, 40.0).slope() - 40.0).abs() < 4.0);
        assert!(!watched(60, 10.0).is_beyond(), "below the bound");
        assert!(!watched(10, 40.0).is_beyond(), "it has grown by less than it goes up and down");
        assert!(watched(6, 400.0).is_beyond() && !watched(4, 400.0).is_beyond(), "too short to tell");
        let shown =
            [(4, 400.0), (6, 400.0), (6, 0.0)].map(|(minutes, slope)| watched(minutes, slope).to_string());
        assert!(shown[0].ends_with("  not judged") && shown[1].ends_with("  GROWS"), "{shown:#?}");
        assert!(shown[2].ends_with(char::is_numeric), "{shown:#?}");
    }
}
