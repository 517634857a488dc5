"""The Parquet tables: schemas, reading and writing, hashing."""
