"""The parts of `benchmarks/gpu_report.py`: measurements by the names that the report gives them."""
