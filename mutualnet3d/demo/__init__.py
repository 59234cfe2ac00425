"""Moving shapes: the demo data that the project makes itself."""
