"""From a trial on paper to a stream of measurements."""
