//! Words and wire format.
