//! Which traces are recorded. The SDK's samplers want a context on the heap for each record; this is the same choice for a record
//! that is not sampled at the price of a comparison. A trace that the SDK of another service samples by ratio is sampled here too.

use longshore_core::TraceContext;

/// `OTEL_TRACES_SAMPLER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sampler {
    /// Whoever has a caller does as the caller does.
    by_parent: bool,
    /// Traces whose id, of its lower half 63 bits, is below are recorded.
    below: u64,
}

/// `parentbased_always_on`, the standard's default.
impl Default for Sampler {
    fn default() -> Self {
        Self::new(true, 1.0)
    }
}

impl Sampler {
    /// Records a share of all traces, from 0 to 1.
    pub(super) fn new(by_parent: bool, ratio: f64) -> Self {
        Self { by_parent, below: (ratio * (1_u64 << 63) as f64) as u64 }
    }

    /// Whether a trace without a caller is recorded.
    pub(super) fn records(&self, trace: &[u8; 16]) -> bool {
        self.records_half(u128::from_be_bytes(*trace) as u64)
    }

    /// The same for the lower half of a trace's id.
    pub(super) fn records_half(&self, lower: u64) -> bool {
        lower >> 1 < self.below
    }

    /// Whether a trace with a caller is recorded.
    pub(super) fn follows(&self, caller: &TraceContext) -> bool {
        if self.by_parent { caller.is_sampled() } else { self.records(&caller.trace) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(flags: u8) -> TraceContext {
        TraceContext { trace: [0x77; 16], span: [1; 8], flags }
    }

    #[test]
    fn a_caller_is_followed_or_not() {
        for (sampler, unsampled, sampled) in [
            (Sampler::new(true, 1.0), false, true),
            (Sampler::new(true, 0.0), false, true),
            (Sampler::new(false, 1.0), true, true),
            (Sampler::new(false, 0.0), false, false),
        ] {
            assert_eq!((sampler.follows(&caller(0)), sampler.follows(&caller(1))), (unsampled, sampled));
        }
    }

    #[test]
    fn a_ratio_is_kept() {
        let sampler = Sampler::new(true, 0.01);
        let traces = (0..100_000).map(|offset| longshore_core::trace::trace_of("logs", 0, offset, 7));
        let recorded = traces.filter(|trace| sampler.records(trace)).count();
        assert!((900..1_100).contains(&recorded), "{recorded}");
        assert!(Sampler::new(true, 1.0).records(&[0xff; 16]));
        assert!(!Sampler::new(true, 0.0).records(&[0; 16]));
    }
}
