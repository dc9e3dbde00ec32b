//! Dataset steps: accept document shapes, normalise, bound, fingerprint.
