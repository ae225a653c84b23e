//! Rules of pods: see each test.
