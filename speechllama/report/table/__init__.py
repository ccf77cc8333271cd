"""Many systems in one table: what each left behind -> scores with significance, the paper's claims, a figure."""
