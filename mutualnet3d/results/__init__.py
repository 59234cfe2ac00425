"""Results of tests: the query table, scores of views, latencies, traces, the paper's results."""
