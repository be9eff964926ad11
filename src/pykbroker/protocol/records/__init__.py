"""Record batches and message sets: headers, records, control records, compression."""
