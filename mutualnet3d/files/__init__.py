"""Files: whole or absent, and read without running what is in them."""
