"""What happened in a sweep, kept so that nothing is lost: a sqlite file and its Parquet tables."""
