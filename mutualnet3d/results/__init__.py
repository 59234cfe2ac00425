"""Results of tests: the query table, scores of views, latencies, the paper's results."""
