"""Many systems in one table, with significance, the paper's claims and a figure."""
